"""What a session of a worker registered at one server is its own at all of them, also after they start again."""

from __future__ import annotations

from dataclasses import replace

from comfyward.ids import new_secret
from tests.attacks.raw_worker import RawWorker, graph_of
from tests.stack.conftest import StartCluster


def test_a_session_holds_on_every_server(start_cluster: StartCluster) -> None:
    cluster = start_cluster(accelerators="L4", lease_s="60")  # a restart takes less, under any load
    one, other = cluster.servers
    token = one.cli("tokens", "create", "shared by two").strip()
    worker = RawWorker(one, token, secret=new_secret()).joined()
    elsewhere, thief = replace(worker, stack=other), replace(worker, stack=other, secret=new_secret())
    run_id = cluster.client().submit(graph_of(), accelerator="L4")
    lease = elsewhere.assigned()["lease"]

    def is_only_its_own() -> None:
        assert thief.hello().json()["code"] == "worker_id_taken"
        assert thief.heartbeat(lease).status_code == 403
        assert thief.report(lease).status_code == 409
        assert [each.heartbeat(lease).json()["lost"] for each in (worker, elsewhere)] == [[], []]

    is_only_its_own()
    other.kill()
    other.start()
    is_only_its_own()

    assert elsewhere.end(lease).status_code == 204
    assert cluster.client().finish(run_id)["status"] == "COMPLETED"
    assert worker.goodbye().status_code == 204
