"""`scripts/gpu-check` on a processor: what can be shown is shown, and of the rest it says that there is no GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, installation

CHECKS = ("out of memory", "switch", "checkpoint", "previews", "kill ComfyUI", "kill server")
LONG_S = "3600"  # the suite's own limit ends a check that hangs


def test_all_that_a_processor_shows(engine: dict[str, str], tmp_path: Path) -> None:
    found = installation(engine)
    paths = ("--comfyui", str(found.source), "--python", str(found.python), "--out", str(tmp_path))
    limits = ("--cpu", "--deadline", "1e12", "--patience", LONG_S)
    only = [word for check in CHECKS for word in ("--only", check)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}

    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu.checks", *paths, *limits, *only],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    report = json.loads((tmp_path / "report.json").read_text())
    lines = {line["check"]: line for line in report["checks"]}
    assert done.returncode == 0, done.stdout
    assert list(lines) == ["devices", *CHECKS]
    assert lines["devices"]["figures"]["pools"] == ["CPU"]
    assert lines["out of memory"]["figures"]["attempts"] == 2
    assert lines["checkpoint"]["figures"]["file_bytes"] > 100 << 20
    assert lines["previews"]["figures"]["previews"] > 0
    assert lines["kill ComfyUI"]["figures"] == {"processes_ended": 1, "attempts": 2}
    without = {name for name, line in lines.items() if any("no GPU" in told for told in line["not_shown"])}
    assert without == set(lines) - {"previews"}
    assert "| kill server | not shown |" in (tmp_path / "report.md").read_text()
