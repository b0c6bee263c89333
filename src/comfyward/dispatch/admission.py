"""Admission: the transaction in which a run comes into the queue; if a worker waits, it is assigned there, too."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from comfyward.dispatch import transitions
from comfyward.dispatch.assigner import Assigner
from comfyward.dispatch.secrets import Secrets
from comfyward.errors import IdempotencyKeyUsed
from comfyward.runs.change import Change
from comfyward.runs.run import EndReason
from comfyward.store import accounts, files, models, new_runs, runs
from comfyward.store.statement import Answer


@dataclass(frozen=True)
class Terms:
    """The digests of a new run's models by path ("" where unknown), and the rules for writing its row."""

    models: Mapping[str, str]
    key_is_single_use: bool
    has_credit_limit: bool
    max_waiting: int


class Admission:
    """Writes new runs."""

    def __init__(self, assigner: Assigner, secrets: Secrets) -> None:
        self._assigner, self._secrets = assigner, secrets

    async def admit(self, new: new_runs.NewRun, terms: Terms, secrets: Mapping[str, Any]) -> str:
        """Queues a run and returns its id, or that of the one made earlier with the same Idempotency-Key.

        Its secrets are stored first, since it may be assigned at once. Raises QueueFull, IdempotencyMismatch, and
        IdempotencyKeyUsed for a single-use key.
        """
        await self._secrets.keep(new.id, secrets)
        run_id = None
        try:
            first = new_runs.adding(new, terms.max_waiting)
            run_id = await self._assigner.queue(new.pool, first, functools.partial(_insert, new=new, terms=terms))
            return run_id
        finally:
            if run_id != new.id:
                self._secrets.forget(new.id)


def _insert(
    conn: Connection, added: Answer | None, new: new_runs.NewRun, terms: Terms
) -> tuple[str, list[Change | None]]:
    if new.idempotency_key is not None and terms.key_is_single_use:
        new_runs.claim_key(conn, new.account_id, new.idempotency_key, new.created_at)
    run_id = new_runs.add(conn, new, terms.max_waiting, added=added)
    files.link(conn, new.account_id, {path: row for path, row in new.files.items() if "url" in row}, new.created_at)
    if run_id != new.id:
        if terms.key_is_single_use:  # another server wrote it since the claim
            raise IdempotencyKeyUsed("This Idempotency-Key was used before.")
        return run_id, []
    models.use(conn, new.account_id, new.workflow_id, run_id, terms.models, new.created_at)
    made: list[Change | None] = [transitions.queued(conn, new)]
    if terms.has_credit_limit and accounts.out_of_credit(conn, [new.account_id]):
        run = runs.get(conn, new.account_id, run_id)
        made.append(transitions.ended(conn, run, EndReason.INSUFFICIENT_CREDIT, new.created_at))
    return run_id, made
