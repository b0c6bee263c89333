"""Host names whose addresses a test chooses, for Pythons that it starts: each look-up gets the next answer."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Every Python that has its folder in PYTHONPATH imports it when it starts.
SITE = """
import fcntl, json, pathlib, socket

folder, found = pathlib.Path(__file__).parent, socket.getaddrinfo

def answer(host, port, *args, **more):
    file = folder / f"{host}.json"
    if more.get("flags") or not isinstance(host, str) or not file.exists():
        return found(host, port, *args, **more)
    with file.open("r+") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        said = json.load(opened)
        addresses = said["answers"][min(said["asked"], len(said["answers"]) - 1)]
        said["asked"] += 1
        opened.seek(0)
        opened.truncate()
        json.dump(said, opened)
    return [each for address in addresses for each in found(address, port, *args, **more)]

socket.getaddrinfo = answer
"""


@dataclass(frozen=True)
class ChangingNames:
    """What is said of each name is in a file of the folder."""

    folder: Path

    @classmethod
    def below(cls, folder: Path) -> ChangingNames:
        (folder / "sitecustomize.py").write_text(SITE)
        return cls(folder)

    @property
    def environment(self) -> dict[str, str]:
        """With which a Python asks here."""
        return {"PYTHONPATH": str(self.folder)}

    def say(self, name: str, *answers: Sequence[str]) -> None:
        """The addresses at the first look-up, at the second, and so on; the last ones at all others."""
        said = self.folder / f"{name}.json"
        with said.open("a") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)  # a look-up that has begun would write the answers of before
            opened.truncate(0)
            json.dump({"answers": answers, "asked": 0}, opened)
        said.chmod(0o666)  # whoever looks it up counts

    def asked(self, name: str) -> int:
        """How often the name was looked up."""
        return int(json.loads((self.folder / f"{name}.json").read_text())["asked"])
