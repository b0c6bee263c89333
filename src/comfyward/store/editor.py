"""Operations on the settings that ComfyUI's editor stores for an account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select

from comfyward.store import row_limits
from comfyward.store.rows import text_of
from comfyward.store.schema import editor_settings


def settings(conn: Connection, account_id: str) -> dict[str, Any]:
    query = select(editor_settings.c.name, editor_settings.c.value).where(editor_settings.c.account_id == account_id)
    return {row.name: msgspec.json.decode(row.value) for row in conn.execute(query)}


def change_settings(conn: Connection, account_id: str, changes: Mapping[str, Any]) -> None:
    """Raises Conflict if some are new and the account has too many."""
    own = editor_settings.c.account_id == account_id
    known = set(conn.scalars(select(editor_settings.c.name).where(own)))
    for name, value in changes.items():
        conn.execute(delete(editor_settings).where(own, editor_settings.c.name == name))
        conn.execute(insert(editor_settings).values(account_id=account_id, name=name, value=text_of(value)))
    if not known.issuperset(changes):
        row_limits.check(
            conn, editor_settings, row_limits.SETTINGS, "settings of the editor", "Use fewer names.", own, beside=0
        )
