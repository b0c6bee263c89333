"""A number that JSON does not have is a result like any other; what cannot be read at all is told after one try."""

import json

import httpx2

from tests import loopback
from tests.stack.graphs import node
from tests.stack.stack import Client, Stack


def strict(answer: httpx2.Response) -> dict:
    """As every reader of JSON but Python's takes it."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON: {answer.text[:500]}")

    assert answer.status_code == 200, answer.text
    return json.loads(answer.text, parse_constant=refuse)


def run_of(client: Client, prompt_id: str) -> str:
    runs = client.http.get("/api/v1/runs").json()
    return next(run["id"] for run in runs if run["prompt_id"] == prompt_id)


def test_not_a_number_and_infinity(shared: Stack) -> None:
    client = shared.client()
    comfyui = loopback.Client(base_url=shared.native_url)
    shared.clients.append(Client(comfyui))
    body = '{"prompt": {"1": {"class_type": "FakeNumbers", "inputs": {"value": %s}}}}'
    url = "/api/v1/workflows/default/runs"

    submitted = [strict(client.http.post(url, content=body % value))["id"] for value in ('"nan"', "NaN", "-1e999")]
    prompt_id = strict(comfyui.post("/prompt", content=body % "Infinity"))["prompt_id"]
    runs = [client.finish(run_id) for run_id in submitted]

    assert [(run["status"], run["attempt"], run["error"]) for run in runs] == [("COMPLETED", 1, None)] * 3
    for run in runs:
        strict(client.http.get(f"/api/v1/runs/{run['id']}"))
        [output] = run["output"]
        assert output["text"] == "half a letter: \ufffd"
    named = strict(client.http.get(f"/api/v1/runs/{submitted[2]}"))["data"]["prompt"]
    assert named["1"]["inputs"] == {"value": "-Infinity"}
    client.finish(run_of(client, prompt_id))
    entry = strict(comfyui.get(f"/history/{prompt_id}"))[prompt_id]
    assert entry["outputs"]["1"]["values"] == [None, None, None, 1.5]


def test_an_unreadable_history_is_not_retried(tenant: Client) -> None:

    run = tenant.run({"1": node("FakeDeep")})

    assert (run["status"], run["end_reason"], run["attempt"]) == ("ERROR", "node_error", 1)
