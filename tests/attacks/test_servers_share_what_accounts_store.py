"""An account that has filled its storage at one server is refused at the other, and has its room back at both."""

from __future__ import annotations

import httpx2

from tests.stack.conftest import StartCluster
from tests.stack.graphs import fake_save, node
from tests.stack.stack import Client

LIMIT = 1000


def test_two_servers_count_the_same_storage(start_cluster: StartCluster) -> None:
    cluster = start_cluster(2, quota_inputs_bytes=str(LIMIT), quota_outputs_bytes=str(LIMIT))
    key = cluster.servers[0].client("ada").key
    here, there = (cluster.at(key, server.own_url) for server in cluster.servers)
    other = cluster.at(cluster.servers[0].client("bob").key, cluster.servers[1].own_url)

    assert _upload(here, "a").status_code == 201
    refused = _upload(there, "b")
    assert (refused.status_code, refused.json()["code"]) == (403, "over_quota")
    assert _used(there, "inputs") == _used(here, "inputs") == 600
    assert _upload(other, "b").status_code == 201
    assert there.http.delete("/api/v1/files?path=/input/a").status_code == 204
    assert _upload(here, "b").status_code == 201

    cluster.join(1)
    saves = {f"{number}": node("FakeSave", text=f"{number}" * 250, prefix=f"{number}") for number in range(5)}
    run = here.run(saves)
    assert _used(there, "outputs") == _used(here, "outputs") >= LIMIT
    for server in (here, there):
        while server.post_run({"prompt": fake_save()}).status_code != 403:
            continue  # a server knows for up to ten seconds what it has counted
    assert other.run(fake_save())["status"] == "COMPLETED"
    assert run["status"] == "COMPLETED"


def _upload(client: Client, name: str) -> httpx2.Response:
    return client.http.post("/api/v1/files", params={"path": f"/input/{name}"}, content=name.encode() * 600)


def _used(client: Client, limit: str) -> int:
    return int(client.http.get("/api/v1/me").json()["storage"][limit]["used"])
