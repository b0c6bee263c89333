"""A node that shows where a file lies shows it as the run's account knows it, while the run goes on too."""

import threading

from tests.fakes.http import Origin
from tests.stack.following import followed
from tests.stack.graphs import node
from tests.stack.stack import Client, Stack


def test_while_others_go_on(shared: Stack, tenant: Client, site: Origin) -> None:
    client, path = tenant, shared.data_dir.resolve() / "cache" / "blobs" / "ab"
    graph = {
        "2": node("FakeText", text=f"from {path}"),
        "3": node("FakeWait", seconds=60),
    }

    begins = threading.Event()
    run_id = client.submit(graph, files={"/input/begins": site.put("/begins", b"now", hold=begins)})
    event = next(data for kind, data, _ in followed(client, run_id, begins) if kind == "shown")
    client.cancel(run_id)
    output = client.wait_for(run_id, "output", name="text_2.txt")

    assert event["shown"] == {"text": ["from cache/blobs/ab"]}
    assert output["text"] == "from cache/blobs/ab"
    assert client.http.get(client.get(run_id)["output"][0]["url"]).text == "from cache/blobs/ab"
