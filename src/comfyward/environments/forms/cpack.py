"""comfy-pack's archives (.cpack.zip): a snapshot with the versions of packages, models and a workflow."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from comfyward.environments.forms import snapshot
from comfyward.environments.forms.archives import Members
from comfyward.environments.forms.draft import Drafting, Lost, text_of
from comfyward.environments.forms.texts import json_table
from comfyward.environments.needs import decoded
from comfyward.environments.spec import Spec
from comfyward.environments.target import PYTHON

SNAPSHOT, REQUIREMENTS = "snapshot.json", "requirements.txt"


def read(members: Members, releases: Mapping[str, str], drafting: Drafting) -> None:
    values = json_table(members[SNAPSHOT], SNAPSHOT)
    snapshot.read(values, releases, drafting)
    drafting.python(text_of(values, "python"))
    drafting.models(values.get("models"), "filename")
    requirements = decoded(members.get(REQUIREMENTS, b"")).splitlines()
    drafting.preferences(line for line in map(str.strip, requirements) if line and not line.startswith("#"))
    for name in sorted(members):
        if name not in (SNAPSHOT, REQUIREMENTS) and not name.endswith("/"):
            drafting.lose(name, _why_not(name))


def written(spec: Spec, commits: Mapping[str, str]) -> tuple[bytes, list[Lost]]:
    """(archive, what it cannot hold) of a spec. Equal specs give equal bytes."""
    values, lost = snapshot.written(spec, commits)
    content = {**values, "pips": {}, "python": PYTHON, "models": []}
    requirements = "".join(f"{line}\n" for line in spec.prefer)
    return _zipped({SNAPSHOT: json.dumps(content, indent=2, ensure_ascii=False), REQUIREMENTS: requirements}), lost


def _zipped(files: Mapping[str, Any]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return out.getvalue()


def _why_not(name: str) -> str:
    if name.endswith(".json"):
        return "environments hold no workflows: import it on the website"
    return "environments hold no files: upload it" if name.startswith("input/") else "it is never run"
