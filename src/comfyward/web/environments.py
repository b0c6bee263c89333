"""Environments: what everybody can choose, and for admins their packs, revisions, and the states of these at hosts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from starlette.responses import Response

from comfyward.api.whole_numbers import whole_number
from comfyward.dispatch import revision_differences
from comfyward.environments.lock import Lock
from comfyward.environments.reference import Reference
from comfyward.environments.releases import DEFAULT_VERSION, VERSIONS
from comfyward.environments.resolution import not_preferred
from comfyward.environments.spec import parse_spec
from comfyward.environments.trees import Trees
from comfyward.store import environment_uses, environments, pack_requests, trials
from comfyward.store.db import Database, now_ms
from comfyward.store.environment_uses import Use
from comfyward.store.environments import Environment
from comfyward.web.environment_facts import download_bytes, locks_of, pack_lines, state_of
from comfyward.web.page import Access, Page
from comfyward.web.page_request import PageRequest

SHOWN_REVISIONS = 10


class Environments:
    """`folder` is where this host keeps environments, and the files of their packs."""

    def __init__(self, db: Database, folder: Path) -> None:
        self._db, self._trees = db, Trees.below(folder)

    def pages(self) -> list[Page]:
        one = "/environments/{name}"
        return [
            Page("GET", "/environments", self.list_all, "All environments"),
            Page("GET", one, self.show, "An environment: its packs and revisions", Access.ADMINS),
            Page("GET", f"{one}/revisions/{{number}}", self.show_revision, "A revision, and its trials", Access.ADMINS),
        ]

    async def list_all(self, request: PageRequest) -> Response:
        if not request.account.is_admin:
            own = await self._db.read(environment_uses.of_account, request.account.id)
            found = await self._db.read(environments.find)
            asked = await self._db.read(pack_requests.of_account, request.account.id)
            return request.render("environments_to_choose.html", environments=found, own=own, asked=asked)
        values = await self._db.read(_cards, now_ms())
        values |= {"requests": await self._db.read(pack_requests.waiting)}
        return request.render("environments.html", **values, releases=VERSIONS, release=DEFAULT_VERSION)

    async def show(self, request: PageRequest) -> Response:
        name = request["name"]
        shown = await self._db.read(state_of, name, now_ms())
        limit = len(shown["revisions"]) if request.query("all") else SHOWN_REVISIONS
        values = {"shown": shown, "revisions": shown["revisions"][:limit], "more": len(shown["revisions"]) > limit}
        if request.is_partial:
            return request.render("environment.part.html", **values)
        spec, locks, uses = await self._db.read(_details, name, shown)
        newest = shown["revisions"][0] if shown["revisions"] else None
        lock = next(iter(locks.values()), None)
        packs = await pack_lines(spec, lock, newest, self._trees)
        values |= {"packs": packs, "lock": lock, "download": download_bytes(lock) if lock else 0}
        return request.render("environment.html", **values, spec=parse_spec(spec), uses=uses, tab="overview")

    async def show_revision(self, request: PageRequest) -> Response:
        name, number = request["name"], whole_number(request["number"], least=1) or 0
        shown, revision, changes, lock = await self._db.read(_revision, name, number, now_ms())
        packs = await pack_lines(revision["spec"], lock, revision, self._trees)
        return request.render(
            "environment_revision.html",
            since_current=await self._db.read(revision_differences.since_current, Reference(name, number)),
            shown=shown,
            revision=revision,
            changes=changes,
            lock=lock,
            not_preferred=not_preferred(parse_spec(revision["spec"]).prefer, lock.packages),
            packs=packs,
            download=download_bytes(lock),
            has_picture=await self._db.read(_has_picture, revision["targets"].values()),
        )


def _cards(conn: Connection, now: int) -> dict[str, Any]:
    """The cards of all environments."""
    uses = environment_uses.by_name(conn)
    return {"cards": [_card(conn, each, uses, now) for each in environments.find(conn)]}


def _card(conn: Connection, environment: Environment, uses: Mapping[str, Use], now: int) -> dict[str, Any]:
    """Its overview, its use, what its newest revision downloads, and the hosts of the current one, else the newest."""
    shown = state_of(conn, environment.name, now)
    newest = next(iter(shown["revisions"]), None)
    current = next((each for each in shown["revisions"] if each["is_current"]), newest)
    lock = next(iter(locks_of(conn, environment.name, newest).values()), None) if newest else None
    return {
        "shown": shown,
        "packs": [pack.name for pack in parse_spec(environment.spec).packs],
        "use": uses.get(environment.name, Use()),
        "lock": lock,
        "download": download_bytes(lock) if lock else 0,
        "hosts": [host for host in current["hosts"] if host["is_present"]] if current else [],
    }


def _details(conn: Connection, name: str, shown: Mapping[str, Any]) -> tuple[str, Mapping[str, Lock], Use]:
    """(the spec as it is to be next, the locks of the newest revision, the use of an environment)."""
    spec = environments.get(conn, name).spec
    locks = locks_of(conn, name, shown["revisions"][0]) if shown["revisions"] else {}
    return spec, locks, environment_uses.by_name(conn).get(name, Use())


def _has_picture(conn: Connection, digests: Iterable[str]) -> bool:
    return any(trials.picture(conn, digest) is not None for digest in digests)


def _revision(conn: Connection, name: str, number: int, now: int) -> tuple[Any, dict[str, Any], Any, Lock]:
    """(the environment, a revision with its spec, its changes since the one before, its lock). Raises NotFound."""
    shown = state_of(conn, name, now)
    by_number = {each["number"]: each for each in shown["revisions"]}
    if number not in by_number:
        raise environments.no_revision(name, number)
    specs = {each.number: each.spec for each in environments.revisions(conn, name)}
    revision = {**by_number[number], "spec": specs[number]}
    lock = next(iter(locks_of(conn, name, revision).values()))
    before = max((each for each in by_number if each < number), default=0)
    return shown, {**revision, "before": before}, revision_differences.since_before(conn, Reference(name, number)), lock
