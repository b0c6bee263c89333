"""URLs of this server as values of `files`: the stored bytes that they show, without a fetch.

A client gives what it was given: the URL of an output or input in any of the three APIs, absolute or without the host,
escaped or not, with a signature or without one.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from sqlalchemy import Connection

from comfyward.api.contents import find_input
from comfyward.api.context import Context
from comfyward.api.shapes import API_PREFIX
from comfyward.errors import InvalidUrl, NotFound
from comfyward.runs.address import origin_of
from comfyward.runs.files import Source, Stored, Url, source_from_row
from comfyward.store import files, runs
from comfyward.store.workflows import DEFAULT_ALIAS

_VIEW = re.compile(re.escape(API_PREFIX) + r"/view/workflows/([^/]+)/(input|output|run)/(.+)", re.DOTALL)
_ASSET = re.compile(r"/api/v2/assets/([^/]+)/content")
_NATIVE = re.compile(r"(?:/workflows/([^/]+))?/comfy(?:/api)?/view")


@dataclass(frozen=True)
class _Asked:
    """A path of ours, unescaped, and what is asked for in its query."""

    path: str
    query: dict[str, str]


async def resolve_own(context: Context, account_id: str, base_url: str, source: Source) -> Source:
    """A URL of this server becomes the stored blob that it shows. Raises NotFound, InvalidUrl."""
    if not isinstance(source, Url) or (asked := _asked(source.url, base_url)) is None:
        return source
    if match := _VIEW.fullmatch(asked.path):
        return await _viewed(context, account_id, asked, *match.groups())
    if match := _ASSET.fullmatch(asked.path):
        return await _asset(context, account_id, match[1], is_open=_is_open(context, asked))
    if match := _NATIVE.fullmatch(asked.path):
        return await _seen(context, account_id, match[1] or DEFAULT_ALIAS, asked.query)
    if source.url.startswith("/"):
        raise InvalidUrl("A URL in 'files' has no host.", hint="Without a host it must be the URL of an output here.")
    return source


def _asked(url: str, base_url: str) -> _Asked | None:
    """None for a URL of another server."""
    parts, base = urlsplit(url), urlsplit(base_url)
    is_own = url.startswith("/") or origin_of(url) == origin_of(base_url)
    if not is_own or not parts.path.startswith(f"{base.path}/"):
        return None
    path = parts.path.removeprefix(base.path)
    return _Asked(unquote(path), {name: values[0] for name, values in parse_qs(parts.query).items()})


def _is_signed(context: Context, signed: str, asked: _Asked) -> bool:
    return context.auth.check_signature(signed, asked.query.get("sig", ""))


def _is_open(context: Context, asked: _Asked) -> bool:
    """Whether a link of v2 carries its own right, and still does."""
    expires = asked.query.get("expires", "")
    return _is_signed(context, f"{asked.path}?expires={expires}", asked) and int(expires) >= time.time()


async def _viewed(context: Context, account_id: str, asked: _Asked, workflow_id: str, kind: str, rest: str) -> Source:
    """What a URL of v1 shows."""
    if kind == "input":
        return await find_input(context.db, account_id, workflow_id, f"/input/{rest}")
    run_id, _, name = rest.partition("/")
    if _is_signed(context, asked.path, asked):
        run = await context.db.lookup(runs.get_any, run_id)
    else:
        run = await context.db.lookup(runs.get, account_id, run_id)
    if run is not None and kind == "run" and f"/{name}" in run.files:
        return source_from_row(run.files[f"/{name}"])
    if run is not None and kind == "output" and (output := run.file(kind, name)) is not None:
        return Stored(output["digest"], output["size"])
    raise NotFound(f"Run '{run_id}' has no file '{name}'.")


async def _asset(context: Context, account_id: str, asset_id: str, *, is_open: bool) -> Stored:
    """What a URL of v2 shows."""
    if is_open:
        file = await context.db.lookup(files.by_id_of_any, asset_id)
    else:
        file = await context.db.lookup(files.by_id, account_id, asset_id)
    return Stored(file.digest, file.size)


async def _seen(context: Context, account_id: str, workflow_id: str, query: dict[str, str]) -> Source:
    """What a URL of ComfyUI's own API shows."""
    path = "/".join(part for part in (query.get("subfolder", "").strip("/"), query.get("filename", "")) if part)
    kind = query.get("type", "output")
    if kind == "input":
        return await find_input(context.db, account_id, workflow_id, f"/input/{path}")
    return await context.db.lookup(_left, account_id, kind, path)


def _left(conn: Connection, account_id: str, kind: str, path: str) -> Stored:
    left = runs.file(conn, account_id, kind, path)
    return Stored(left.digest, left.size)
