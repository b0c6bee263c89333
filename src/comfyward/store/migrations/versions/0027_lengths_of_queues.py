"""the lengths of queues, counted by the database as runs come into them and leave them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

MOVED = "(OLD.state, OLD.pool, OLD.environment_name) {} (NEW.state, NEW.pool, NEW.environment_name)"
# (name, after what, when, whose queue changes, by how much)
TRIGGERS = (
    ("queued_first", "INSERT", "NEW.state = 'queued'", "NEW", 1),
    ("queued_again", "UPDATE OF state, pool, environment_name", f"NEW.state = 'queued' AND {MOVED}", "NEW", 1),
    ("queued_until_moved", "UPDATE OF state, pool, environment_name", f"OLD.state = 'queued' AND {MOVED}", "OLD", -1),
    ("queued_until_deleted", "DELETE", "OLD.state = 'queued'", "OLD", -1),
)


def upgrade() -> None:
    op.create_table(
        "queue_lengths",
        sa.Column("pool", sa.String(length=60), nullable=False),
        sa.Column("environment_name", sa.String(length=120), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("pool", "environment_name", "part", name=op.f("pk_queue_lengths")),
    )
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if is_sqlite:
        _count_on_sqlite()
    else:
        _count_on_postgresql()
    name = _environment("runs", is_sqlite)
    # With the triggers, PostgreSQL has locked the table: nobody queues a run between them and this.
    op.execute(
        "INSERT INTO queue_lengths (pool, environment_name, part, length)"
        f" SELECT pool, {name}, 0, COUNT(*) FROM runs WHERE state = 'queued' GROUP BY pool, {name}"
    )


def _count_on_sqlite() -> None:
    for name, after, when, row, change in TRIGGERS:
        op.execute(
            f"CREATE TRIGGER {name} AFTER {after} ON runs WHEN {when.format('IS NOT')} BEGIN"
            " INSERT INTO queue_lengths (pool, environment_name, part, length)"
            f" VALUES ({row}.pool, {_environment(row, True)}, 0, {change})"
            " ON CONFLICT (pool, environment_name, part) DO UPDATE SET length = length + excluded.length; END"
        )


def _count_on_postgresql() -> None:
    """At the commit, and for each connection in another row: so that no transaction waits for another one's."""
    for row, function in (("NEW", "count_queued"), ("OLD", "count_not_queued")):
        op.execute(
            f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO queue_lengths AS counted (pool, environment_name, part, length)"
            f" VALUES ({row}.pool, {_environment(row, False)}, pg_backend_pid() % 256, {1 if row == 'NEW' else -1})"
            " ON CONFLICT (pool, environment_name, part) DO UPDATE SET length = counted.length + excluded.length;"
            " RETURN NULL; END $$"
        )
    for name, after, when, row, _ in TRIGGERS:
        op.execute(
            f"CREATE CONSTRAINT TRIGGER {name} AFTER {after} ON runs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
            f" WHEN ({when.format('IS DISTINCT FROM')})"
            f" EXECUTE FUNCTION {'count_queued' if row == 'NEW' else 'count_not_queued'}()"
        )


def _environment(row: str, is_sqlite: bool) -> str:
    """The name under which an environment was asked for, without a revision's number."""
    if is_sqlite:
        return f"substr({row}.environment_name, 1, instr({row}.environment_name || '@', '@') - 1)"
    return f"split_part({row}.environment_name, '@', 1)"
