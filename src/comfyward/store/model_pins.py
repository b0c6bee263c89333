"""Operations on pins: models that workers of a pool keep in their hosts' memory."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from comfyward.errors import Conflict, NotFound
from comfyward.store.schema import model_pins
from comfyward.workflows.model_names import name_of

MOST = 200


@dataclass(frozen=True)
class ModelPin:
    """A model that `workers` of a pool are to keep in memory, for all or for one workflow ("": for all).

    `digest` is "" for a model in the operator's own folders; `size` (bytes) is then not known. `account_id` is the
    admin's who pinned it.
    """

    id: str
    account_id: str
    pool: str
    path: str
    digest: str
    size: int | None
    workers: int
    workflow_id: str
    created_at: int

    @property
    def name(self) -> str:
        """Its name for runs and workers: its digest or, for the operator's own, its name in graphs."""
        return self.digest or name_of(self.path)


_COLUMNS = [model_pins.c[name] for name in ModelPin.__dataclass_fields__]


def put(conn: Connection, pin: ModelPin) -> None:
    """Stores a pin, in place of one of the same model in the pool and for the same workflow. Raises Conflict."""
    same = (
        model_pins.c.pool == pin.pool,
        model_pins.c.path == pin.path,
        model_pins.c.workflow_id == pin.workflow_id,
    )
    conn.execute(delete(model_pins).where(*same))
    if len(conn.execute(select(model_pins.c.id).limit(MOST)).all()) >= MOST:
        raise Conflict(f"{MOST} models are pinned, which is the limit.", hint="Unpin some that are not needed.")
    conn.execute(insert(model_pins).values(**pin.__dict__))


def find(conn: Connection) -> list[ModelPin]:
    """All pins, those of each pool in the order in which they were made."""
    order = (model_pins.c.pool, model_pins.c.created_at, model_pins.c.id)
    return [ModelPin(*row) for row in conn.execute(select(*_COLUMNS).order_by(*order))]


def remove(conn: Connection, pin_id: str) -> None:
    """Raises NotFound."""
    if conn.execute(delete(model_pins).where(model_pins.c.id == pin_id)).rowcount == 0:
        raise NotFound("There is no such pin.", hint="'comfyward models pins' lists all.")
