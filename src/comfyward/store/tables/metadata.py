"""The one collection of all tables, and what their definitions share."""

from __future__ import annotations

from typing import Any

from sqlalchemy import MetaData, String, text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# The key of an environment: 64 characters. SQLite, which knows no lengths, would have to copy the tables to say so.
KEY = String(60).with_variant(String(64), "postgresql")


def partial(condition: str) -> dict[str, Any]:
    """The arguments of an index that has only the rows for which a condition is true, on both databases."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}
