"""ComfyUI calls some runs a success in its history that it gave up, or of which it left a part out."""

from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, node


def test_whatever_the_history_says(start_fake: StartFake) -> None:
    client = start_fake().wait_ready().client()
    saved = fake_save("whole")["1"]

    cycle = client.run({"1": saved, "2": node("FakeCycle"), "3": node("FakeSave", text="x", prefix="never")})
    blocked = client.run({"1": saved, "2": node("FakeBlocked")})
    stopped = client.run({"1": saved, "2": node("FakeStops")})

    assert (cycle["status"], cycle["end_reason"], cycle["attempt"]) == ("ERROR", "node_error", 1)
    assert (cycle["error"]["message"], cycle["error"]["node_id"]) == ("Dependency cycle detected", "2")
    assert (blocked["status"], blocked["attempt"]) == ("ERROR", 1)
    assert blocked["error"]["message"] == "Execution Blocked: no face found"
    assert (stopped["status"], stopped["end_reason"], stopped["attempt"]) == ("ERROR", "node_error", 1)
    assert (stopped["error"]["message"], stopped["error"]["node_id"]) == ("A node stopped the run.", "2")
    for run in (cycle, blocked, stopped):
        assert [output["partial"] for output in run["outputs"]] == [True]
