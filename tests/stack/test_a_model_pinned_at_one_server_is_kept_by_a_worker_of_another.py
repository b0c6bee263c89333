"""Two servers act as one for pins: what an admin pins at either is fetched from the object store by a worker, shown by
both, and let go when it is unpinned at the other."""

from __future__ import annotations

import os
from typing import Any

from tests.stack.cluster import Cluster
from tests.stack.stack import Client
from tests.stack.waiting import until

SIZE = 2 << 20
NAME = "checkpoints/pinned-of-two.pt"


def held(client: Client) -> list[dict[str, Any]]:
    """What workers keep of the model, as one server says."""
    found = client.http.get("/api/v1/model-memory").raise_for_status().json()
    return [each for worker in found for each in worker["models"] if each["model"] == NAME]


def held_whole(client: Client) -> dict[str, Any]:
    """What the one worker keeps of it, once that is all."""
    (model,) = until(lambda seen: [each["resident"] for each in seen] == [SIZE], lambda: held(client))
    return model


def test_pins_of_two_servers(cluster: Cluster) -> None:
    one = cluster.servers[0].client()
    other = cluster.at(one.key, cluster.servers[1].url)
    one.http.post("/api/v1/files", params={"path": f"/models/{NAME}"}, content=os.urandom(SIZE)).raise_for_status()

    (pin,) = one.http.post("/api/v1/model-pins", json={"model": NAME, "accelerator": "L4"}).raise_for_status().json()

    for client in (one, other):
        model = held_whole(client)
        assert (model["pinned"], model["problem"]) == (True, None)
    assert [each["id"] for each in other.http.get("/api/v1/model-pins").json()] == [pin["id"]]

    other.http.delete(f"/api/v1/model-pins/{pin['id']}").raise_for_status()

    until(lambda seen: not any(each["pinned"] for each in seen), lambda: held(one))
    assert one.http.get("/api/v1/model-pins").json() == []
