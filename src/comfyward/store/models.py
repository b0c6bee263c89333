"""Operations on what is known of models: the facts in their files, and their use by runs and workflows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, bindparam, func, select, text

from comfyward.store.rows import text_of
from comfyward.store.schema import (
    accounts,
    files,
    model_facts,
    model_uses,
    runs,
    shared_files,
    workers,
    workflow_models,
    workflows,
)
from comfyward.store.statement import Statement
from comfyward.workflows.model_facts import ModelFacts
from comfyward.workflows.model_names import names_of

_USE = Statement(
    text(
        "INSERT INTO model_uses (account_id, path, digest, workflow_id, run_count, last_used_at, last_run_id)"
        " VALUES (:account_id, :path, :digest, :workflow_id, 1, :now, :run_id)"
        " ON CONFLICT (account_id, path, digest, workflow_id) DO UPDATE SET run_count = model_uses.run_count + 1,"
        " last_used_at = excluded.last_used_at, last_run_id = excluded.last_run_id"
    )
)
_place = (model_uses.c.path, model_uses.c.digest)
_EACH_USE = select(*_place, func.sum(model_uses.c.run_count), func.max(model_uses.c.last_used_at)).group_by(*_place)
_USES = Statement(_EACH_USE.where(model_uses.c.account_id == bindparam("account_id")))
_COUNTS = Statement(
    select(workflow_models.c.name, func.count())
    .join(workflows, workflows.c.id == workflow_models.c.workflow_id)
    .where(workflow_models.c.account_id == bindparam("account_id"), workflows.c.deleted_at.is_(None))
    .group_by(workflow_models.c.name)
)
IN_ONE = 500  # digests in one statement
Place = tuple[str, str]
"""A model's path and digest; the digest is "" where it is not known."""


@dataclass(frozen=True)
class ModelUse:
    """The use of a model by runs, those that were deleted since included. `last_used_at` is in ms since the epoch."""

    run_count: int = 0
    last_used_at: int | None = None


@dataclass(frozen=True)
class Naming:
    """A saved workflow that names a model."""

    id: str
    name: str


def use(conn: Connection, account_id: str, workflow_id: str, run_id: str, models: Mapping[str, str], now: int) -> None:
    """Counts a new run for the models that it names, given as digests by path, at the end of its transaction."""
    of_run = {"account_id": account_id, "workflow_id": workflow_id, "run_id": run_id, "now": now}
    _USE.defer(conn, [{"path": path, "digest": digest, **of_run} for path, digest in sorted(models.items())])


def uses(conn: Connection, account_id: str) -> dict[Place, ModelUse]:
    """The use of each model by an account's runs."""
    return {(row[0], row[1]): ModelUse(int(row[2]), int(row[3])) for row in _USES(conn, account_id=account_id)}


def uses_of_shared(conn: Connection) -> dict[Place, ModelUse]:
    """The use of each shared model by the runs of all accounts."""
    of_shared = model_uses.c.digest.in_(select(shared_files.c.digest))
    rows = conn.execute(_EACH_USE.where(of_shared))
    return {(row[0], row[1]): ModelUse(int(row[2]), int(row[3])) for row in rows}


def hosts(conn: Connection, account_id: str | None, path: str, digest: str) -> list[str]:
    """The hosts on which the newest run of each workflow had a model: of an account, or of all."""
    of_model = [model_uses.c.path == path, model_uses.c.digest == digest]
    if account_id is not None:
        of_model.append(model_uses.c.account_id == account_id)
    query = select(workers.c.host).join(runs, runs.c.worker_id == workers.c.id)
    found = query.join(model_uses, model_uses.c.last_run_id == runs.c.id).where(*of_model).distinct()
    return sorted(conn.scalars(found))


def named_by(conn: Connection, account_id: str, workflow_id: str) -> set[str]:
    """The names of the models that a workflow of the account names."""
    own = (workflow_models.c.account_id == account_id, workflow_models.c.workflow_id == workflow_id)
    return set(conn.scalars(select(workflow_models.c.name).where(*own)))


def counts_of_namings(conn: Connection, account_id: str) -> dict[str, int]:
    """The number of the account's workflows that name a model, by name."""
    return {row[0]: int(row[1]) for row in _COUNTS(conn, account_id=account_id)}


def namings(conn: Connection, account_id: str, path: str) -> list[Naming]:
    """The account's workflows that name the model at a path, by name."""
    own = (workflow_models.c.account_id == account_id, workflow_models.c.name.in_(names_of(path)))
    query = select(workflows.c.id, workflows.c.name).join(
        workflow_models, workflow_models.c.workflow_id == workflows.c.id
    )
    found = query.where(*own, workflows.c.deleted_at.is_(None)).distinct()
    return [Naming(*row) for row in conn.execute(found.order_by(workflows.c.name, workflows.c.id))]


def count_of_others(conn: Connection, account_id: str, path: str) -> int:
    """The number of workflows of other accounts that name a shared model, and have none of their own at its path."""
    has_own = select(files.c.id).where(files.c.account_id == workflow_models.c.account_id, files.c.path == path)
    others = (
        workflow_models.c.name.in_(names_of(path)),
        workflow_models.c.account_id != account_id,
        workflows.c.deleted_at.is_(None),
        accounts.c.deleted_at.is_(None),
        ~has_own.exists(),
    )
    query = select(func.count(workflows.c.id.distinct())).join(
        workflow_models, workflow_models.c.workflow_id == workflows.c.id
    )
    return int(conn.scalar(query.join(accounts, accounts.c.id == workflows.c.account_id).where(*others)) or 0)


def put_facts(conn: Connection, digest: str, facts: ModelFacts, now: int) -> None:
    """Stores the facts of a file, which never change."""
    if find_facts(conn, [digest]):
        return
    conn.execute(model_facts.insert().values(digest=digest, facts=text_of(facts), read_at=now))


def find_facts(conn: Connection, digests: Iterable[str]) -> dict[str, ModelFacts]:
    """The facts of files by digest, of those that were read."""
    wanted, found = sorted(set(digests)), dict[str, ModelFacts]()
    for start in range(0, len(wanted), IN_ONE):
        rows = conn.execute(
            select(model_facts.c.digest, model_facts.c.facts).where(
                model_facts.c.digest.in_(wanted[start : start + IN_ONE])
            )
        )
        found |= {digest: msgspec.json.decode(facts, type=ModelFacts) for digest, facts in rows}
    return found
