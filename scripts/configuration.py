"""Writes docs/configuration.md from the settings: `python scripts/configuration.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from comfyward.settings import Settings

TARGET = Path(__file__).parent.parent / "docs" / "configuration.md"

HEAD = """# Configuration

Every setting is an environment variable `COMFYWARD_<NAME>`, or a key (in lower case) of `comfyward.toml` in the working
directory; flags of `comfyward serve` win over both. Lists may be written with commas, lists and tables as JSON.

This page is made from `src/comfyward/settings.py` by `scripts/configuration.py`.

| variable | default | |
|---|---|---|
"""


def page() -> str:
    rows = [
        f"| `COMFYWARD_{name.upper()}` | {_default(field)} | {_escape(field.description or '')} |"
        for name, field in Settings.model_fields.items()
    ]
    return HEAD + "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    if "default_data_dir" in str(field.default_factory):
        return "`~/.local/share/comfyward`"
    if "default_memory_limit" in str(field.default_factory):
        return ""
    value: Any = field.get_default(call_default_factory=True)
    if value is None or value in ([], {}):
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(page())
