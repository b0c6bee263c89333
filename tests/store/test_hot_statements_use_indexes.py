"""Every statement on the path of a run uses an index."""

import re

import pytest
from sqlalchemy import Connection, inspect

from comfyward.store import (
    accounts,
    blobs,
    files,
    leases,
    models,
    new_runs,
    queue,
    recalls,
    runs,
    shared_files,
    usable_files,
    workflows,
)
from comfyward.store.schema import metadata
from comfyward.store.statement import Statement
from tests.store.conftest import Store

STATEMENTS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": statement
    for module in (
        *(accounts, blobs, files, leases, models, new_runs),
        *(queue, recalls, runs, shared_files, usable_files, workflows),
    )
    for name, statement in vars(module).items()
    if isinstance(statement, Statement)
}
LISTS = "named|able|full_accounts|full_keys"  # parameters
BOUNDED = "more_urgent|earlier|up_to_own_last|parts"  # rows of an index, up to a limit; a row for each part of a queue
READ_WHOLE = rf"SCAN (?!CONSTANT ROW|({LISTS}) VIRTUAL TABLE|({BOUNDED})$)|.*Seq Scan(?! on queue_lengths parts)"


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_reads_or_sorts_a_whole_table(store: Store, name: str) -> None:
    plan = store.read(_plan, STATEMENTS[name])

    assert not [step for step in plan if re.match(READ_WHOLE, step)]
    assert name == "files._AT" or not [
        step for step in plan if "TEMP B-TREE" in step or "Sort" in step
    ]  # few files share a path


def test_an_accounts_last_turn_is_one_step_of_its_index(store: Store) -> None:
    plan = store.read(_plan, new_runs._INSERT)

    assert [step for step in plan if "ix_runs_turns" in step]
    assert not [step for step in plan if "idempotency_key" in step]


def test_every_index_of_the_schema_is_there(store: Store) -> None:
    def missing(conn: Connection) -> set[str]:
        found = {index["name"] for table in metadata.tables for index in inspect(conn).get_indexes(table)}
        return {str(index.name) for table in metadata.tables.values() for index in table.indexes} - found

    assert store.read(missing) == set()


def _plan(conn: Connection, statement: Statement) -> list[str]:
    compiled = statement._for(conn)
    if conn.dialect.name == "sqlite":
        values = tuple(0 for _ in compiled.order or ())
        return [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled.text}", values)]
    # An empty table is always read whole unless that is forbidden; where no index fits, it is read whole all the same.
    for setting in ("enable_seqscan = off", "plan_cache_mode = force_generic_plan"):
        conn.exec_driver_sql(f"SET LOCAL {setting}")
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", compiled.text)))
    numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", compiled.text)
    conn.exec_driver_sql(f"PREPARE hot AS {numbered}")
    try:
        arguments = f"({', '.join('NULL' for _ in names)})" if names else ""
        plan = [row[0] for row in conn.exec_driver_sql(f"EXPLAIN (COSTS off) EXECUTE hot{arguments}")]
    finally:
        conn.exec_driver_sql("DEALLOCATE hot")
    assert plan
    return plan
