"""Learnings: an admin asks which files packs fetch, a worker finds out, and the admin takes them into the spec."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from comfyward.dispatch import promotions, specs
from comfyward.dispatch.revision_differences import catalog_of
from comfyward.dispatch.revisions import Revisions
from comfyward.environments.egress import parse_egress
from comfyward.environments.learning import HOSTS
from comfyward.environments.reference import Reference
from comfyward.environments.weights import Weights, parse_weights
from comfyward.errors import Conflict, Forbidden, InvalidEnvironment, NotFound
from comfyward.runs.log import on_one_line, plain
from comfyward.store import learnings, workers
from comfyward.store.db import Database, now_ms
from comfyward.store.learnings import Learning, LearningWish
from comfyward.store.tokens import WorkerToken
from comfyward.store.workers import Holder
from comfyward.worker.learned import MAX_GRAPH, FoundFile, Learned, LearningOrder
from comfyward.workflows.carried import submitted
from comfyward.workflows.conversion.conversion import convert
from comfyward.workflows.graph_limit import GraphLimit


class Learnings:
    """Passes what is asked for to workers, and keeps what they find."""

    def __init__(self, db: Database, revisions: Revisions) -> None:
        self._db, self._revisions = db, revisions

    async def begin(self, reference: Reference, hosts: Sequence[str], workflow: Mapping[str, Any] | None) -> Learning:
        """Asks for a learning of a revision, by default the newest, which executes a workflow if one is given.

        Raises NotFound, Conflict, InvalidEnvironment, and what `executable` raises.
        """
        graph = await self._db.read(executable, reference, workflow)
        begun = await self._db.write(begin, reference, hosts, graph, now_ms())
        self._revisions.changed()
        return begun

    async def cancel(self, name: str) -> None:
        """Raises NotFound."""
        await self._db.write(learnings.cancel, name, now_ms())
        self._revisions.changed()

    async def claimed(self, token: WorkerToken, session: str, digest: str) -> LearningOrder:
        """The learning of a revision for a worker of this session. Raises NotFound, Forbidden."""
        _check(token)
        found = await self._db.write(_claim, Holder(token.hash, session), digest, now_ms() - workers.PRESENT_MS)
        self._revisions.reported()
        if found is None:
            raise NotFound("Nothing is to be learned of this environment.")
        return LearningOrder(found.id, list(found.wanted.hosts), found.wanted.graph)

    async def learned(self, token: WorkerToken, session: str, told: Learned) -> None:
        """Stores what a worker has found. Raises NotFound if that is not its to tell, Forbidden."""
        _check(token)
        if not await self._db.write(_finish, Holder(token.hash, session), told, now_ms()):
            raise NotFound("This learning is over, or another worker's.")


def executable(conn: Connection, reference: Reference, workflow: Mapping[str, Any] | None) -> str:
    """The API's graph of a workflow in either form, for a revision, as JSON; "" for none.

    Raises InvalidGraph, TooLarge, NotFound; Conflict if nobody has told yet which nodes the revision has.
    """
    if workflow is None:
        return ""
    limit = GraphLimit(MAX_GRAPH)
    limit.size_of(workflow)
    graph, editor_graph = submitted(workflow)
    if graph is not None:
        return msgspec.json.encode(graph.prompt).decode()
    assert editor_graph is not None
    found = promotions.numbered(conn, reference)
    assert found.number is not None
    digests = promotions.digests_of(conn, found.name, found.number).values()
    catalog = next(filter(None, (catalog_of(conn, digest) for digest in digests)), None)
    if catalog is None:
        raise Conflict(
            f"The nodes of {found} are not known before a worker has tried it.",
            hint=f"Run 'comfyward environments try {found.name}' first, or give what File > Export (API) saves.",
        )
    made = convert(editor_graph, catalog)
    limit.check_made(made)
    return msgspec.json.encode(made).decode()


def begin(conn: Connection, reference: Reference, hosts: Sequence[str], graph: str, now: int) -> Learning:
    """Asks for a learning; `hosts` are reached beside HOSTS. Raises NotFound, Conflict, InvalidEnvironment."""
    number = promotions.number_of(conn, reference)
    allowed = (*HOSTS, *parse_egress(list(hosts)))
    return learnings.begin(conn, reference.name, number, LearningWish(allowed, graph), now)


def accept(conn: Connection, name: str, paths: Collection[str] | None, now: int) -> list[Weights]:
    """Takes files that were found into the spec: those at `paths`, or all whose address is known. Returns them.

    Raises NotFound, Conflict, InvalidEnvironment.
    """
    told = found_of(learnings.latest(conn, name))
    if told is None:
        raise Conflict(f"The learning of '{name}' has not found anything yet.")
    by_path = {file.path: file for file in told.files}
    for path in paths or ():
        if path not in by_path:
            raise NotFound(f"The learning of '{name}' found no file '{path[:200]}'.")
        if not by_path[path].url:
            hint = "Write a [[file]] with an address of the file into the spec; its sha256 is known."
            raise Conflict(f"It is not known where '{path[:200]}' comes from.", hint=hint)
    chosen = [_weights(file) for file in told.files if (file.path in paths if paths is not None else file.url)]
    specs.change(conn, name, lambda spec: spec.with_files(chosen), now)
    return chosen


def found_of(learning: Learning) -> Learned | None:
    """The finds of a learning; None before there are any."""
    return None if learning.found is None else msgspec.json.decode(learning.found, type=Learned)


def shown(found: Learning) -> dict[str, Any]:
    """It as JSON shows it, without its times."""
    told = found_of(found)
    return {
        "id": found.id,
        "environment": found.name,
        "revision": found.number,
        "state": found.state,
        "worker": found.worker or None,
        "message": found.message,
        "files": [
            {"path": file.path, "url": file.url or None, "sha256": file.sha256, "size": file.size}
            for file in (told.files if told else ())
        ],
        "refused": list(told.refused) if told else [],
    }


def _weights(file: FoundFile) -> Weights:
    return parse_weights({"path": file.path, "url": file.url, "sha256": file.sha256, "size": file.size})


def _check(token: WorkerToken) -> None:
    """A worker of one pool decides nothing for the others. Raises Forbidden."""
    if not token.is_operators:
        raise Forbidden("A worker with a token for one pool learns nothing for all of them.")


def _claim(conn: Connection, holder: Holder, digest: str, seen_after: int) -> Learning | None:
    """Raises Forbidden for a call without a worker."""
    rows = workers.of_session(conn, holder)
    if not rows:
        raise Forbidden("No worker has joined with this token and this secret.")
    worker = max(rows, key=lambda row: row.started_at)  # the session's process goes by its last id
    return learnings.claim(conn, digest, worker.id, seen_after)


def _finish(conn: Connection, holder: Holder, told: Learned, now: int) -> bool:
    ids = [row.id for row in workers.of_session(conn, holder)]
    found, message = _tidied(told), plain(told.message)
    text = msgspec.json.encode(found).decode() if found.files or not message else ""
    return learnings.finish(conn, told.id, ids, text, message, now)


def _tidied(told: Learned) -> Learned:
    """The finds that a spec could have: a worker's word is a stranger's."""
    files = [file for file in told.files if _is_sound(file)]
    return msgspec.structs.replace(told, files=files, refused=[on_one_line(host) for host in told.refused], message="")


def _is_sound(file: FoundFile) -> bool:
    try:
        _weights(file if file.url else msgspec.structs.replace(file, url="https://unknown.invalid/"))
    except InvalidEnvironment:
        return False
    return bool(file.sha256)
