"""The guides' code runs as it stands, and generated pages are what would be generated now."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from comfyward.fleet.pools import load_fleet
from tests import carriers
from tests.stack.graphs import picture
from tests.stack.stack import Stack

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"^```(sh|python|js)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

API_GUIDE = BLOCK.findall((ROOT / "docs" / "api.md").read_text())
README = [block for block in BLOCK.findall((ROOT / "README.md").read_text()) if block[0] == "python"]
SAVED = {  # as the editor saves it
    "nodes": [
        {"id": 1, "type": "EmptyImage", "widgets_values": [64, 64, 1, 0]},
        {
            "id": 2,
            "type": "SaveImage",
            "widgets_values": ["quick"],
            "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
        },
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"]],
}
CODE = [*API_GUIDE, *README]


@pytest.mark.parametrize(("language", "code"), CODE, ids=[f"{index}-{block[0]}" for index, block in enumerate(CODE)])
def test_the_guides_code_runs(real: Stack, tmp_path: Path, language: str, code: str) -> None:
    if language == "js" and not shutil.which("node"):
        pytest.skip("Node is not installed")
    key = real.cli("keys", "create", "guide").strip()
    environment = {**os.environ, "COMFYWARD_URL": real.url, "COMFYWARD_API_KEY": key}
    (tmp_path / "picture.png").write_bytes(carriers.png({"prompt": json.dumps(picture())}))
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


def test_the_quickstart_runs_from_its_first_line_to_its_last(real: Stack, tmp_path: Path) -> None:
    """All that comes after the server was started, in one shell."""
    page = (ROOT / "docs" / "quickstart.md").read_text().replace("http://127.0.0.1:8600", real.url)
    _, *blocks = [code for language, code in BLOCK.findall(page) if language == "sh"]
    (tmp_path / "workflow.json").write_text(json.dumps(SAVED))
    own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COMFYWARD_DATA_DIR": str(real.data_dir)}
    environment = {**os.environ, **own, "COMFYWARD_URL": real.url}

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "pictures" / "quick_00001_.png").exists()
    assert '"status":"COMPLETED"' in done.stdout


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_a_guide_calls_the_command_by_its_name_and_sets_what_it_uses(page: Path) -> None:
    text = page.read_text()
    assert "bin/comfyward" not in text
    assert "Workflow > Export" not in text, "the editor's menu says File > Export (API)"
    assigned = set(re.findall(r"\b([A-Z_]+)=", text))
    used = {
        name for language, code in BLOCK.findall(text) if language == "sh" for name in re.findall(r"\$([A-Z_]+)", code)
    }
    # The key comes from the quickstart; each page that uses another variable sets it.
    assert used - assigned - {"COMFYWARD_API_KEY", "COMFYWARD_URL"} == set()


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
