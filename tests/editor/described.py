"""Run by ComfyUI's own python, in its folder: writes the descriptions of all its classes.

python described.py ANSWER --cpu --base-directory FOLDER --front-end-root FOLDER
"""

import asyncio
import os
import sys
from pathlib import Path

ANSWER = Path(sys.argv[1])
sys.argv = [str(Path("main.py").absolute()), *sys.argv[2:]]
sys.path.insert(0, os.getcwd())

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import utils.extra_config  # noqa: E402, F401  before `nodes` puts another `utils` in its way


async def main():
    import nodes
    import server

    prompt_server = server.PromptServer(asyncio.get_running_loop())
    await nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=True)
    [info] = [route for route in prompt_server.routes if getattr(route, "path", "") == "/object_info"]
    ANSWER.write_text((await info.handler(None)).text)


asyncio.run(main())
