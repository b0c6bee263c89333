"""URLs of this server as values of `files`: the stored bytes that they show, without a fetch.

Clients pass on any URL that they got: of an output or input in any of the three APIs, absolute or without the host,
escaped or not, with a signature or without one.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from sqlalchemy import Connection

from comfyward.api.auth import Auth
from comfyward.api.contents import find_input
from comfyward.api.public_url import API_PREFIX
from comfyward.errors import InvalidUrl, NotFound
from comfyward.paths import INPUT_ROOT
from comfyward.runs.address import origin_of
from comfyward.runs.files import Source, Stored, Url, source_from_row
from comfyward.store import files, runs
from comfyward.store.db import Database
from comfyward.store.workflows import DEFAULT_ALIAS

_VIEW = re.compile(re.escape(API_PREFIX) + r"/view/workflows/([^/]+)/(input|output|run)/(.+)", re.DOTALL)
_ASSET = re.compile(r"/api/v2/assets/([^/]+)/content")
_NATIVE = re.compile(r"(?:/workflows/([^/]+))?/comfy(?:/api)?/view")


@dataclass(frozen=True)
class _Asked:
    """A path of this server, unescaped, with its query."""

    path: str
    query: dict[str, str]


class OwnUrls:
    """Finds the stored bytes behind URLs of this server."""

    def __init__(self, auth: Auth, db: Database) -> None:
        self._auth, self._db = auth, db

    async def resolve(self, account_id: str, base_url: str, source: Source) -> Source:
        """The stored blob that a URL of this server shows; any other source as it is. Raises NotFound, InvalidUrl."""
        if not isinstance(source, Url) or (asked := _parsed(source.url, base_url)) is None:
            return source
        if match := _VIEW.fullmatch(asked.path):
            return await self._of_v1(account_id, asked, *match.groups())
        if match := _ASSET.fullmatch(asked.path):
            return await self._of_v2(account_id, asked, match[1])
        if match := _NATIVE.fullmatch(asked.path):
            return await self._of_comfyui(account_id, match[1] or DEFAULT_ALIAS, asked.query)
        if source.url.startswith("/"):
            hint = "Without a host it must be the URL of an output here."
            raise InvalidUrl("A URL in 'files' has no host.", hint=hint)
        return source

    async def _of_v1(self, account_id: str, asked: _Asked, workflow_id: str, kind: str, rest: str) -> Source:
        if kind == "input":
            return await find_input(self._db, account_id, workflow_id, f"{INPUT_ROOT}{rest}")
        run_id, _, name = rest.partition("/")
        if self._is_signed(asked.path, asked):
            run = await self._db.lookup(runs.get_any, run_id)
        else:
            run = await self._db.lookup(runs.get, account_id, run_id)
        if run is not None and kind == "run" and f"/{name}" in run.files:
            return source_from_row(run.files[f"/{name}"])
        if run is not None and kind == "output" and (output := run.file(kind, name)) is not None:
            return Stored(output.digest, output.size)
        raise NotFound(f"Run '{run_id}' has no file '{name}'.")

    async def _of_v2(self, account_id: str, asked: _Asked, asset_id: str) -> Stored:
        if self._is_open(asked):
            file = await self._db.lookup(files.by_id_of_any, asset_id)
        else:
            file = await self._db.lookup(files.by_id, account_id, asset_id)
        return Stored(file.digest, file.size)

    async def _of_comfyui(self, account_id: str, workflow_id: str, query: dict[str, str]) -> Source:
        path = "/".join(part for part in (query.get("subfolder", "").strip("/"), query.get("filename", "")) if part)
        kind = query.get("type", "output")
        if kind == "input":
            return await find_input(self._db, account_id, workflow_id, f"{INPUT_ROOT}{path}")
        return await self._db.lookup(_result, account_id, kind, path)

    def _is_signed(self, signed: str, asked: _Asked) -> bool:
        return self._auth.check_signature(signed, asked.query.get("sig", ""))

    def _is_open(self, asked: _Asked) -> bool:
        """True for a link of v2 with a signature that has not expired."""
        expires = asked.query.get("expires", "")
        return self._is_signed(f"{asked.path}?expires={expires}", asked) and int(expires) >= time.time()


def _parsed(url: str, base_url: str) -> _Asked | None:
    """The path and query of a URL of this server; None for one of another."""
    parts, base = urlsplit(url), urlsplit(base_url)
    is_own = url.startswith("/") or origin_of(url) == origin_of(base_url)
    if not is_own or not parts.path.startswith(f"{base.path}/"):
        return None
    path = parts.path.removeprefix(base.path)
    return _Asked(unquote(path), {name: values[0] for name, values in parse_qs(parts.query).items()})


def _result(conn: Connection, account_id: str, kind: str, path: str) -> Stored:
    file = runs.file(conn, account_id, kind, path)
    return Stored(file.digest, file.size)
