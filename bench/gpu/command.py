"""`scripts/gpu-check`: prepares a folder, or shows on this machine what only a GPU can show. Any Python runs it."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from bench.gpu import machine

MOST_S = 480
HERE = Path(__file__).parent.parent.parent


def main() -> int:
    asked = _parsed()
    began = time.time()
    if asked.prepare:
        from bench.gpu import folder  # needs comfyward's own environment

        folder.prepare(asked.folder, asked.python_version)
        return 0
    out = asked.out.resolve()
    shutil.rmtree(out / "work", ignore_errors=True)
    (out / "work").mkdir(parents=True, exist_ok=True)
    options = [*(["--cpu"] if asked.cpu else []), *(word for name in asked.only for word in ("--only", name))]
    try:
        command = machine.unpack(asked.folder.resolve(), out / "work", asked.python)
    except machine.Unfit as problem:
        print(problem, file=sys.stderr)
        return 2
    print(f"unpacked in {time.time() - began:.1f} s; results go to {out}", flush=True)
    status = machine.run([*command, *options], HERE, out, began + asked.most)
    shutil.rmtree(out / "work" / "models", ignore_errors=True)  # 12 GB
    table = out / "report.md"
    print(f"\n{table.read_text()}" if table.exists() else "no report was written")
    return status


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the prepared folder")
    parser.add_argument("--prepare", action="store_true", help="make it here: needs a network, and no GPU")
    parser.add_argument("--python-version", default="3.12", help="of the machine with the GPU: 3.11 to 3.13")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="one that has torch")
    parser.add_argument("--out", type=Path, default=Path("gpu-check-out"), help="for the report and all logs")
    parser.add_argument("--most", type=float, default=MOST_S, help="seconds for everything")
    parser.add_argument("--cpu", action="store_true", help="without a GPU, what can be shown so")
    parser.add_argument("--only", action="append", default=[], metavar="CHECK", help="only this check; repeat it")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
