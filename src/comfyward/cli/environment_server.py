"""Environments at a server, over its API."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from comfyward.cli.connection import connect
from comfyward.cli.environment_place import Made, Place, Proposed, becomes_current
from comfyward.cli.steps import showing_steps
from comfyward.cli.tables import moment_of
from comfyward.client import Client
from comfyward.environments.archive import pack as packed
from comfyward.environments.forms.writing import NOT_TAKEN_OVER
from comfyward.environments.reference import Reference
from comfyward.environments.source import parse_comfyui, parse_pack
from comfyward.environments.spec import Spec, parse_spec, spec_toml
from comfyward.errors import Conflict, InvalidEnvironment, SetupFailed

POLL_S = 0.5
LOCKED_FIRST = 202


@contextmanager
def opened_server(url: str, key: str | None) -> Iterator[Place]:
    """The environments of the server at an address, with an admin's key."""
    with connect(url, key) as client:
        yield ServerPlace(client)


class ServerPlace:
    """The environments that the API shows, and changes for admins."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def all(self) -> list[dict[str, Any]]:
        return [self.shown(each["name"]) for each in self._client.call("GET", "/environments").json()]

    def shown(self, name: str) -> dict[str, Any]:
        found = self._json("GET", _path(name))
        if "revisions" not in found:
            raise Conflict("The key's account is no admin, and only admins see more of an environment.")
        for revision in found["revisions"]:
            revision |= {"created": moment_of(revision["created_at"]), "path": None}
        return {key: value for key, value in found.items() if key != "locking"}

    def remarks(self, name: str) -> list[str]:
        return []

    def create(self, name: str, comfyui: str) -> str:
        if Path(comfyui).exists():
            raise InvalidEnvironment("A server takes no ComfyUI from a folder of this machine.")
        spec = Spec(parse_comfyui(comfyui))
        self._json("POST", "/environments", json={"name": name, "spec": spec_toml(spec)})
        return str(spec.comfyui)

    def add(self, name: str, sources: Sequence[str]) -> list[str]:
        added = [str(parse_pack(source)) for source in sources if not Path(source).exists()]
        if added:
            self._json("POST", _path(name, "packs"), json={"sources": added})
        for path in (Path(source) for source in sources if Path(source).exists()):
            before = set(added)
            packs = self._sent(name, path)["packs"]
            stem = path.resolve().name.removesuffix(".zip")
            added += [each for each in packs if each.startswith(f"folder:{stem}@") and each not in before]
        return added

    def remove(self, name: str, packs: Sequence[str]) -> None:
        for pack in packs:
            self._json("DELETE", _path(name, "packs", pack))

    def allow_scripts(self, name: str, packs: Sequence[str], *, is_allowed: bool) -> None:
        spec = parse_spec(self.export(Reference(name), "spec")[0].decode())
        changed = spec_toml(spec.with_scripts(packs, is_allowed=is_allowed))
        self._json("PATCH", _path(name), json={"spec": changed})

    def lock(self, name: str, *, is_again: bool = False) -> Made:
        self._json("POST", _path(name, "lock"), json={"update": is_again})
        return self._made(name, self._ended(name))

    def update(self, name: str, comfyui: str) -> Proposed:
        self._json("POST", _path(name, "update"), json={"comfyui": comfyui})
        locking = self._ended(name)
        made = None if locking["state"] == "proposed" else self._made(name, locking)
        return Proposed(locking["changes"], locking["offers"], locking["notes"], made)

    def accept(self, name: str) -> Reference:
        shown = self._json("POST", _path(name, "update", "accept"))
        return Reference.parse(shown["revisions"][0]["revision"])

    def difference(self, before: Reference | None, after: Reference) -> dict[str, Any]:
        if before is not None and before.name != after.name:
            raise InvalidEnvironment("A server compares revisions of one environment.")
        number = after.number or self._newest(after.name)
        asked = {} if before is None else {"from": before.number or self._newest(before.name)}
        return self._json("GET", _path(after.name, "revisions", str(number), "diff"), params=asked)

    def ask_to_try(self, reference: Reference) -> Reference:
        shown, is_locking = self._asked("POST", _path(reference.name, "try"), json={"revision": reference.number})
        if is_locking:
            return self._made(reference.name, self._ended(reference.name)).reference
        return Reference(reference.name, reference.number or shown["revisions"][0]["number"])

    def unmark(self, name: str, workflow: str) -> None:
        self._json("DELETE", _path(name, "trials", workflow))

    def learn(self, name: str, hosts: Sequence[str], graph: Mapping[str, Any] | None) -> None:
        self._json("POST", _path(name, "learn"), json={"hosts": list(hosts), "graph": graph})

    def learning(self, name: str) -> dict[str, Any]:
        return self._json("GET", _path(name, "learn"))

    def cancel_learning(self, name: str) -> None:
        self._client.call("DELETE", _path(name, "learn"))

    def accept_files(self, name: str) -> None:
        self._json("POST", _path(name, "learn", "accept"), json={})

    def promote(self, reference: Reference, *, without_trial: bool) -> tuple[str, list[str]]:
        body = {"revision": reference.number, "without_trial": without_trial}
        shown, is_locking = self._asked("POST", _path(reference.name, "promote"), json=body)
        if is_locking:
            made = self._made(reference.name, self._ended(reference.name)).reference
            return becomes_current(made), []
        return f"{reference.name}@{shown['current']} is current.", shown["warnings"]

    def roll_back(self, name: str) -> Reference:
        return Reference(name, self._json("POST", _path(name, "rollback"), json={})["current"])

    def delete(self, name: str) -> None:
        self._client.call("DELETE", _path(name))

    def export(self, reference: Reference, form: str) -> tuple[bytes, Sequence[str]]:
        asked = {"form": form, **({"revision": reference.number} if reference.number else {})}
        answer = self._client.call("GET", _path(reference.name, "export"), params=asked)
        return answer.content, json.loads(answer.headers.get(NOT_TAKEN_OVER, "[]"))

    def import_file(self, name: str, content: bytes) -> tuple[dict[str, Any], Sequence[str]]:
        headers = {"Content-Type": "application/octet-stream"}
        imported = self._json("POST", _path(name, "import"), content=content, headers=headers)
        return imported["environment"], imported["lost"]

    def import_folder(self, name: str, folder: Path) -> tuple[dict[str, Any], Sequence[str]]:
        raise InvalidEnvironment(
            "A server reads no folder of this machine.", hint="Import it on the server's machine, without --url."
        )

    def _sent(self, name: str, path: Path) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            archive = path
            if path.is_dir():
                archive = Path(folder) / f"{path.resolve().name}.zip"
                packed(path, archive)
            files = {"file": (archive.name, archive.read_bytes(), "application/zip")}
            return self._json("POST", _path(name, "packs"), files=files)

    def _ended(self, name: str) -> dict[str, Any]:
        """The last locking of an environment once it has ended. Raises SetupFailed with the server's reason."""
        with showing_steps(f"Locking {name}") as show:
            while (locking := self._json("GET", _path(name, "lock")))["finished_at"] is None:
                show(locking["step"] or "Waiting", locking["part"])
                time.sleep(POLL_S)
        if locking["state"] not in ("done", "proposed"):
            message = locking["message"] or "It was cancelled."
            raise SetupFailed(message, hint=locking["hint"] or None)
        return locking

    def _made(self, name: str, locking: Mapping[str, Any]) -> Made:
        reference = Reference(name, locking["revision"])
        shown = self._json("GET", _path(name, "revisions", str(reference.number)))
        changes = self.difference(None, reference)["changes"] if locking["is_new"] else []
        return Made(reference, shown["digest"], locking["is_new"], changes)

    def _newest(self, name: str) -> int:
        revisions = self.shown(name)["revisions"]
        if not revisions:
            raise Conflict(f"'{name}' has no revision yet.", hint="'comfyward environments lock' makes one.")
        return int(revisions[0]["number"])

    def _asked(self, method: str, path: str, **request: Any) -> tuple[dict[str, Any], bool]:
        """(the answer, True if the next revision is locked first: what was asked for follows)."""
        answer = self._client.call(method, path, **request)
        return answer.json(), answer.status_code == LOCKED_FIRST

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._client.call(method, path, **request).json()
        return found


def _path(name: str, *parts: str) -> str:
    return "/".join(("/environments", *(quote(each, safe="") for each in (name, *parts))))
