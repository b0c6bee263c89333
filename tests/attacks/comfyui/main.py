"""A ComfyUI that does what `attack.py` in its base folder's `user/` says, and leaves what it found in `output/`."""

import json
import os
import socket
import sys
import time
import traceback
from pathlib import Path

base = Path(sys.argv[sys.argv.index("--base-directory") + 1])
found: dict[str, object] = {}


def attempt(name, act):
    try:
        result = act()
        found[name] = result if isinstance(result, (int, str, list, type(None))) else str(result)
    except (OSError, MemoryError) as error:
        found[name] = f"refused: {type(error).__name__} {getattr(error, 'errno', '')}"
    except BaseException as error:  # the attack itself is wrong, and shows nothing
        found[name] = f"not tried: {error!r}"


try:
    exec((base / "user" / "attack.py").read_text(), {"attempt": attempt, "base": base, "found": found})
except BaseException:
    found["failed"] = traceback.format_exc()
(base / "output" / "found.json").write_text(json.dumps(found))
listener = socket.socket(fileno=int(os.environ["COMFYWARD_LISTENER"]))
listener.listen()
time.sleep(600)
