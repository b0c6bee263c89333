"""Writes requirements/advisories.json: what PyPA's advisory database says of the packages in our locks.

    git clone https://github.com/pypa/advisory-database
    .venv/bin/python scripts/advisories.py advisory-database

CI compares the locks with that list, since it reaches no database.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parent.parent
TARGET = REPOSITORY / "requirements" / "advisories.json"
LOCKS = ("requirements/*.txt", "src/comfyward/comfy/environments/*/packages.txt")
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
SOURCE = "https://github.com/pypa/advisory-database"


def main(clone: Path) -> None:
    commit, day = _git(clone, "log", "-1", "--format=%H %cs").decode().split()
    packages = {_normal(name) for lock in locks() for name in PINNED.findall(lock.read_text())}
    found = [each for text in _texts(clone) if (each := _advisory(yaml.safe_load(text), packages))]
    about = {"source": SOURCE, "commit": commit, "day": day}
    lines = [json.dumps(each) for each in sorted(found, key=lambda each: (each["package"], each["id"]))]
    TARGET.write_text(json.dumps(about)[:-1] + ', "advisories": [\n' + ",\n".join(lines) + "\n]}\n")


def locks() -> list[Path]:
    """The files that pin what is installed."""
    return sorted(path for pattern in LOCKS for path in REPOSITORY.glob(pattern))


def _texts(clone: Path) -> list[bytes]:
    """All advisories of a clone, which may have no work tree."""
    with tarfile.open(fileobj=io.BytesIO(_git(clone, "archive", "HEAD", "vulns"))) as archive:
        files = (archive.extractfile(member) for member in archive if member.name.endswith(".yaml"))
        return [file.read() for file in files if file is not None]


def _advisory(about: dict[str, Any], packages: set[str]) -> dict[str, Any] | None:
    """An advisory on one of the packages; None for one that is withdrawn or on others."""
    affected = [each for each in about["affected"] if _normal(each["package"]["name"]) in packages]
    if not affected or "withdrawn" in about:
        return None
    [name] = {_normal(each["package"]["name"]) for each in affected}
    ranges = [kind["events"] for each in affected for kind in each.get("ranges", ()) if kind["type"] == "ECOSYSTEM"]
    versions = [] if ranges else sorted(version for each in affected for version in each.get("versions", ()))
    return {
        "id": about["id"],
        "package": name,
        "names": about.get("aliases", []),
        "ranges": ranges,
        "versions": versions,
    }


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _git(clone: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(clone), *arguments], check=True, capture_output=True).stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]))
