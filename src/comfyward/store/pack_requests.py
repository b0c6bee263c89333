"""Operations on requests of accounts for packs that their workflows need. An admin accepts or declines them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from comfyward.errors import Conflict, NotFound
from comfyward.ids import new_id
from comfyward.store import row_limits
from comfyward.store.rows import text_of
from comfyward.store.schema import accounts, pack_requests

WAITING, ACCEPTED, DECLINED = "waiting", "accepted", "declined"
MAX_SHOWN = 100
MAX_WAITING = 20  # of an account: all of them share what is shown
KEPT = 100  # of an account, once they are decided


@dataclass(frozen=True)
class PackRequest:
    """A request. `packs` are those that were found for the workflow, `comfyui` the versions that it needs, or "".

    `environment` is the one that was made or extended for it, `reply` an admin's words.
    """

    id: str
    account_id: str
    account: str
    workflow_id: str
    packs: Sequence[Mapping[str, Any]]
    comfyui: str
    state: str
    environment: str
    reply: str
    created_at: int
    decided_at: int | None


def ask(
    conn: Connection, account_id: str, workflow_id: str, packs: Sequence[Mapping[str, Any]], comfyui: str, now: int
) -> str:
    """Stores a request, in place of one that waits for the same workflow. Returns its id. Raises Conflict."""
    own = pack_requests.c.account_id == account_id
    same = (own, pack_requests.c.workflow_id == workflow_id, pack_requests.c.state == WAITING)
    conn.execute(delete(pack_requests).where(*same))
    is_waiting = (own, pack_requests.c.state == WAITING)
    row_limits.check(
        conn, pack_requests, MAX_WAITING, "requests for packs that wait", "Ask an admin in person.", *is_waiting
    )
    _forget_old(conn, account_id)
    values = {"account_id": account_id, "workflow_id": workflow_id, "packs": text_of(packs), "comfyui": comfyui}
    request_id = new_id()
    conn.execute(insert(pack_requests).values(id=request_id, state=WAITING, created_at=now, **values))
    return request_id


def waiting(conn: Connection) -> list[PackRequest]:
    """The requests that wait for an admin, the oldest first."""
    return _found(conn, pack_requests.c.state == WAITING)


def of_account(conn: Connection, account_id: str, state: str | None = None) -> list[PackRequest]:
    """An account's requests in a state, or in any, the newest first."""
    return _found(conn, pack_requests.c.account_id == account_id, *_in(state))[::-1]


def of_all(conn: Connection, state: str | None) -> list[PackRequest]:
    """The newest requests of all accounts in a state, or in any, the newest first."""
    return _found(conn, *_in(state))[::-1]


def of_workflow(conn: Connection, account_id: str, workflow_id: str) -> PackRequest | None:
    """The newest request for a workflow of an account."""
    own = (pack_requests.c.account_id == account_id, pack_requests.c.workflow_id == workflow_id)
    found = _found(conn, *own)
    return found[-1] if found else None


def get(conn: Connection, request_id: str) -> PackRequest:
    """Raises NotFound."""
    found = _found(conn, pack_requests.c.id == request_id)
    if not found:
        raise _unknown()
    return found[0]


def decide(conn: Connection, request_id: str, state: str, now: int, *, environment: str = "", reply: str = "") -> None:
    """Accepts or declines a request that waits. Raises NotFound, or Conflict if that was done before."""
    values = {"state": state, "decided_at": now, "environment": environment, "reply": reply}
    is_waiting = (pack_requests.c.id == request_id, pack_requests.c.state == WAITING)
    if conn.execute(update(pack_requests).where(*is_waiting).values(**values)).rowcount == 0:
        raise Conflict(f"The request was {get(conn, request_id).state} already.")


def withdraw(conn: Connection, account_id: str, request_id: str) -> None:
    """Takes back a request that waits. Raises NotFound for another account's, and Conflict if it was decided."""
    if (found := get(conn, request_id)).account_id != account_id:
        raise _unknown()
    own = (pack_requests.c.id == request_id, pack_requests.c.state == WAITING)
    if conn.execute(delete(pack_requests).where(*own)).rowcount == 0:
        raise Conflict(f"The request was {found.state} already.")


def _in(state: str | None) -> list[ColumnElement[bool]]:
    return [] if state is None else [pack_requests.c.state == state]


def _unknown() -> NotFound:
    return NotFound("There is no such request.")


def _forget_old(conn: Connection, account_id: str) -> None:
    columns = pack_requests.c
    decided = (columns.account_id == account_id, columns.state != WAITING)
    newest = select(columns.id).where(*decided).order_by(columns.created_at.desc(), columns.id.desc()).limit(KEPT)
    conn.execute(delete(pack_requests).where(*decided, columns.id.not_in(list(conn.scalars(newest)))))


def _found(conn: Connection, *which: ColumnElement[bool]) -> list[PackRequest]:
    """The newest that are shown, the oldest of them first."""
    columns = [pack_requests.c[name] for name in PackRequest.__dataclass_fields__ if name != "account"]
    query = select(*columns, accounts.c.name.label("account")).join(
        accounts, accounts.c.id == pack_requests.c.account_id
    )
    ordered = query.where(*which).order_by(pack_requests.c.created_at.desc(), pack_requests.c.id.desc())
    return [
        PackRequest(**{**row._mapping, "packs": msgspec.json.decode(row.packs)})
        for row in conn.execute(ordered.limit(MAX_SHOWN))
    ][::-1]
