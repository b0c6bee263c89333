"""The guides' code runs as it stands, and generated pages are what would be generated now."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from comfyward.fleet.pools import load_fleet
from tests.stack.stack import Stack

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"^```(sh|python|js)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

API_GUIDE = BLOCK.findall((ROOT / "docs" / "api.md").read_text())
README = [block for block in BLOCK.findall((ROOT / "README.md").read_text()) if block[0] == "python"]
CODE = [*API_GUIDE, *README]


@pytest.mark.parametrize(("language", "code"), CODE, ids=[f"{index}-{block[0]}" for index, block in enumerate(CODE)])
def test_the_guides_code_runs(real: Stack, tmp_path: Path, language: str, code: str) -> None:
    if language == "js" and not shutil.which("node"):
        pytest.skip("Node is not installed")
    key = real.cli("keys", "create", "guide").strip()
    environment = {**os.environ, "COMFYWARD_URL": real.url, "COMFYWARD_API_KEY": key}
    command = {
        "sh": ["bash", "-euo", "pipefail", "-c", code],
        "python": [sys.executable, "-c", code],
        "js": ["node", "--input-type=module", "-e", code],
    }[language]

    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr
    if "runs" in code or "run.status" in code:
        assert "COMPLETED" in done.stdout


def test_the_configuration_page_is_up_to_date() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "configuration.py"))["page"]()
    assert made == (ROOT / "docs" / "configuration.md").read_text(), "run scripts/configuration.py"


def test_the_fleets_file_in_the_guide_is_one(tmp_path: Path) -> None:
    [text] = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "docs" / "scale.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "fleet.toml").write_text(text)

    assert set(load_fleet(tmp_path / "fleet.toml").pools) == {"L4", "A100_80GB"}


def test_links_between_the_docs_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
