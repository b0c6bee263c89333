"""A server whose service is delegated to it: a run over its memory ends alone, told by the kernel, and others go on."""

from __future__ import annotations

from tests.cgroups.conftest import Service
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, node

MIB = 1 << 20


def test_a_run_over_its_memory_ends_alone(service: Service, start_fake: StartFake) -> None:
    limits = {"sandbox_memory_bytes": f"{600 * MIB}", "sandbox_cgroups": "required"}
    stack = start_fake(lease_s="60", **limits).wait_ready()  # the machine is slow, and has one processor
    pid, mallory = stack.worker_pid(), stack.client("mallory")

    run = mallory.run({"1": node("FakeGreedy", what="children"), "2": node("FakeSave", text="never")})

    assert (run["status"], run["end_reason"], run["attempt"]) == ("ERROR", "over_limit", 1), run["error"]
    assert run["error"]["message"].startswith("The run used more than 600 MiB of memory.")
    for account in ("mallory", "victim"):
        after = stack.client(account).run(fake_save("as ever"))
        assert (after["status"], after["attempt"]) == ("COMPLETED", 1), after["error"]
    assert stack.worker_pid() == pid
    assert 'comfyward_workers_by_limits{limits="cgroups",pool="' in stack.client().http.get("/metrics").text
    stack.stop()
    assert service.children == ["comfyward"]
