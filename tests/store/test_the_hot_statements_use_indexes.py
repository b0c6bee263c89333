"""What every run asks of the database is found by an index, however many runs there are."""

import pytest
from sqlalchemy import Connection, inspect

from comfyward.store import accounts, files, queue, runs, workflows
from comfyward.store.schema import metadata
from comfyward.store.statement import Statement
from tests.store.conftest import Store

STATEMENTS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": statement
    for module in (accounts, files, queue, runs, workflows)
    for name, statement in vars(module).items()
    if isinstance(statement, Statement)
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_reads_or_sorts_a_whole_table(store: Store, name: str) -> None:
    plan = store.read(_plan, STATEMENTS[name])

    assert not [step for step in plan if step.startswith("SCAN") and step != "SCAN CONSTANT ROW"]
    assert name == "files._AT" or not [step for step in plan if "TEMP B-TREE" in step]  # few files share a path


def test_every_index_of_the_schema_is_there(store: Store) -> None:
    def missing(conn: Connection) -> set[str]:
        found = {index["name"] for table in metadata.tables for index in inspect(conn).get_indexes(table)}
        return {str(index.name) for table in metadata.tables.values() for index in table.indexes} - found

    assert store.read(missing) == set()


def _plan(conn: Connection, statement: Statement) -> list[str]:
    compiled = statement._for(conn)
    values = tuple(0 for _ in compiled.order or ())
    return [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled.text}", values)]
