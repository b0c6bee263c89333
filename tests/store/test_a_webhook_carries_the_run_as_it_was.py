"""A delivery carries the run as it was when its event happened, also one that has waited since before an upgrade."""

import dataclasses
import json

from sqlalchemy import Connection, update

from comfyward.runs.failure import Failure
from comfyward.runs.output import Output
from comfyward.runs.run import EndReason, Run, State
from comfyward.store import runs, webhooks
from comfyward.store.schema import webhook_deliveries
from comfyward.store.webhooks import Room
from tests.store.conftest import Store

NOW = 1_000_000


def _announced(store: Store) -> Run:
    store.new_run("r", webhook="http://receiver/hook", files={"/input/a.png": {"url": "http://host/a.png"}})

    def add(conn: Connection) -> Run:
        found = runs.get_any(conn, "r")
        assert found is not None
        run = dataclasses.replace(
            found,
            state=State.FAILED,
            end_reason=EndReason.NODE_ERROR,
            outputs=[Output("o", "a.png", "digest", 9, "image/png", "7")],
            previews=[Output("p", "b.txt", "other", 2, "text/plain", None, "hi")],
            failure=Failure("It broke.", "Mend it.", node_id="7", traceback=["line"], current_inputs={"a": [1]}),
            node_results='{"outputs": {}}',
            run_time_ms=1500,
        )
        webhooks.add(conn, run, "run.failed", NOW)
        return run

    return store.write(add)


def _due(store: Store) -> Run:
    (due,) = store.read(webhooks.due, NOW, Room())
    return due.run


def test_with_its_outputs_and_its_failure(store: Store) -> None:
    assert _announced(store) == _due(store)


def test_written_before_fields_were_renamed(store: Store) -> None:
    run = _announced(store)

    def as_before(conn: Connection) -> None:
        values = json.loads(conn.scalars(webhook_deliveries.select().with_only_columns(_SNAPSHOT)).one())
        values["face"], values["shown"] = values.pop("submitted_via"), values.pop("node_results")
        del values["credits_per_s"]
        conn.execute(update(webhook_deliveries).values(snapshot=json.dumps(values)))

    store.write(as_before)

    assert run == _due(store)


_SNAPSHOT = webhook_deliveries.c.snapshot
