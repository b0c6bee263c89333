"""ComfyUI calls some runs a success in its history that it gave up, or of which it left a part out."""

from tests.stack.graphs import fake_save, node
from tests.stack.stack import Client


def test_whatever_the_history_says(tenant: Client) -> None:
    saved = fake_save("whole")["1"]

    cycle = tenant.run({"1": saved, "2": node("FakeCycle"), "3": node("FakeSave", text="x", prefix="never")})
    blocked = tenant.run({"1": saved, "2": node("FakeBlocked")})
    stopped = tenant.run({"1": saved, "2": node("FakeStops")})

    assert (cycle["status"], cycle["end_reason"], cycle["attempt"]) == ("ERROR", "node_error", 1)
    assert (cycle["error"]["message"], cycle["error"]["node_id"]) == ("Dependency cycle detected", "2")
    assert (blocked["status"], blocked["attempt"]) == ("ERROR", 1)
    assert blocked["error"]["message"] == "Execution Blocked: no face found"
    assert (stopped["status"], stopped["end_reason"], stopped["attempt"]) == ("ERROR", "node_error", 1)
    assert (stopped["error"]["message"], stopped["error"]["node_id"]) == ("A node stopped the run.", "2")
    for run in (cycle, blocked, stopped):
        assert [output["partial"] for output in run["outputs"]] == [True]
