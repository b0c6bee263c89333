"""An operator without packs of their own gives no folder of them; ComfyUI looks into one before it starts."""

import sys
from pathlib import Path

from comfyward.comfy.install import Installation
from comfyward.comfy.parents import ComfyParents
from comfyward.comfy.process import ComfyProcess, ComfySpec
from comfyward.sandbox.walls import Level

# As ComfyUI's main.py does before anything else; then it answers.
MAIN = """
import os, socket, sys, time
os.listdir(os.path.join(sys.argv[sys.argv.index("--base-directory") + 1], "custom_nodes"))
server = socket.socket(fileno=int(os.environ["COMFYWARD_LISTENER"]))
server.listen()
time.sleep(600)
"""


async def test_comfyui_starts_with_no_custom_nodes_folder(tmp_path: Path) -> None:
    (tmp_path / "comfyui").mkdir()
    (tmp_path / "comfyui" / "main.py").write_text(MAIN)
    installation = Installation(tmp_path / "comfyui", Path(sys.executable), "0", ())
    base = tmp_path / "base"
    base.mkdir()
    parents = ComfyParents(tmp_path)
    process = ComfyProcess(ComfySpec(installation, base, Level.NONE, False, (), (), (), ()), parents)

    await process.start()

    assert process.is_running
    await process.stop()
    await parents.close()
