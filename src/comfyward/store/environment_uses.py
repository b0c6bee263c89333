"""Operations on who uses environments: the workflows that have them, and the unfinished runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from comfyward.store.schema import accounts, runs, workflows


@dataclass(frozen=True)
class Use:
    """The numbers of workflows that have an environment, at any revision, by the names of their accounts."""

    workflows: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.workflows.values())


def by_name(conn: Connection) -> dict[str, Use]:
    """The uses of all environments, by name; those that no workflow has are left out."""
    has_one = (workflows.c.environment != "", workflows.c.deleted_at.is_(None), accounts.c.deleted_at.is_(None))
    query = (
        select(workflows.c.environment, accounts.c.name, func.count())
        .join(accounts, accounts.c.id == workflows.c.account_id)
        .where(*has_one)
        .group_by(workflows.c.environment, accounts.c.name)
        .order_by(accounts.c.name)
    )
    found: dict[str, Counter[str]] = {}
    for environment, account, count in conn.execute(query):
        found.setdefault(environment.partition("@")[0], Counter())[account] += count
    return {name: Use(dict(counts)) for name, counts in found.items()}


def of_account(conn: Connection, account_id: str) -> dict[str, int]:
    """The numbers of an account's own workflows by the environment that they have."""
    own = (workflows.c.account_id == account_id, workflows.c.environment != "", workflows.c.deleted_at.is_(None))
    query = select(workflows.c.environment, func.count()).where(*own).group_by(workflows.c.environment)
    found: Counter[str] = Counter()
    for environment, count in conn.execute(query):
        found[environment.partition("@")[0]] += count
    return dict(found)


def unfinished(conn: Connection, name: str) -> int:
    """The number of runs that are not finished yet and asked for an environment, at any revision."""
    asked = runs.c.environment_name
    is_its = (asked == name) | asked.startswith(f"{name}@", autoescape=True)
    return conn.scalar(select(func.count()).select_from(runs).where(runs.c.finished_at.is_(None), is_its)) or 0
