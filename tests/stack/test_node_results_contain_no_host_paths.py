"""A node that shows where a file lies shows it as the run's account knows it, while the run goes on too."""

from tests.stack.graphs import node
from tests.stack.stack import Client, Stack


def test_while_others_go_on(shared: Stack, tenant: Client) -> None:
    client, path = tenant, shared.data_dir.resolve() / "cache" / "blobs" / "ab"
    graph = {
        "1": node("FakeWait", seconds=2),  # until somebody listens
        "2": node("FakeText", text=f"from {path}"),
        "3": node("FakeWait", seconds=60),
    }

    run_id = client.submit(graph)
    event = client.wait_for(run_id, "shown", node="2")
    client.cancel(run_id)
    output = client.wait_for(run_id, "output", name="text_2.txt")

    assert event["shown"] == {"text": ["from cache/blobs/ab"]}
    assert output["text"] == "from cache/blobs/ab"
    assert client.http.get(client.get(run_id)["output"][0]["url"]).text == "from cache/blobs/ab"
