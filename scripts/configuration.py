"""Writes docs/configuration.md from the settings: `python scripts/configuration.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from comfyward.settings import Settings, default_memory_limit, default_model_memory, default_sandbox_memory

TARGET = Path(__file__).parent.parent / "docs" / "configuration.md"

HEAD = """# Configuration

Every setting is an environment variable `COMFYWARD_<NAME>`, or a key (in lower case) of `comfyward.toml` in the working
directory; flags of `comfyward serve` win over both. Lists may have commas; tables, and lists too, may be JSON.

This page is made from `src/comfyward/settings.py` by `scripts/configuration.py`.

| variable | default | |
|---|---|---|
"""


TAIL = """
## Commands

These are variables only. A file holds its secret alone; `chmod 600` it.

| variable | flag | of |
|---|---|---|
| `COMFYWARD_WORKER_TOKEN_FILE`, `COMFYWARD_WORKER_TOKEN` | `--token-file`, `--token` | `comfyward worker` |
| `COMFYWARD_FLEET_TOKEN_FILE`, `COMFYWARD_FLEET_TOKEN` | `--token-file`, `--token` | `comfyward fleet ray` |
| `COMFYWARD_API_KEY_FILE`, `COMFYWARD_API_KEY` | `--key-file`, `--key` | `comfyward run` and `runs` |
| `COMFYWARD_URL` | `--url` | `comfyward run` and `runs` |
"""


def page() -> str:
    rows = [
        f"| `COMFYWARD_{name.upper()}` | {_default(field)} | {_escape(field.description or '')} |"
        for name, field in Settings.model_fields.items()
    ]
    return HEAD + "\n".join(rows) + "\n" + TAIL


def _default(field: FieldInfo) -> str:
    if "default_data_dir" in str(field.default_factory):
        return "`~/.local/share/comfyward`"
    if field.default_factory in (default_memory_limit, default_model_memory, default_sandbox_memory):
        return ""  # they depend on the host, and the descriptions say how
    value: Any = field.get_default(call_default_factory=True)
    if value is None or value in ([], {}):
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(page())
