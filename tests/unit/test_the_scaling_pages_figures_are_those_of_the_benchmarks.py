"""The figures on docs/scale.md are those in the benchmarks' files beside it."""

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"

page = runpy.run_path(str(ROOT / "scripts" / "figures.py"))["page"]


def test_the_page_is_what_the_script_would_write() -> None:
    text = (DOCS / "scale.md").read_text()
    assert page(text) == text


def test_another_measurement_is_another_page(tmp_path: Path) -> None:
    for path in (DOCS / "figures").glob("*.json*"):
        (tmp_path / path.name).write_text(path.read_text())
    placement = json.loads((tmp_path / "placement.json").read_text())
    placement["policies"]["comfyward"]["switches"] = 123_456
    (tmp_path / "placement.json").write_text(json.dumps(placement))

    text = (DOCS / "scale.md").read_text()

    assert "123,456" in page(text, tmp_path)
    assert page(text, tmp_path) != text
