"""Ids that clients of ComfyUI choose are of any letters; lists of jobs are filtered and paged as ComfyUI does it."""

from __future__ import annotations

from urllib.parse import quote

import httpx2
import pytest
from websockets.sync.client import connect

from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack

pytestmark = pytest.mark.several_servers  # a database may refuse, sort or compare what another does not

ODD = "a/b \u202f\U0001f468\u200d\U0001f469?#%"


@pytest.fixture
def client(shared: Stack) -> Client:
    return shared.client("ids")


@pytest.fixture
def native(client: Client) -> httpx2.Client:
    client.http.headers["X-API-Key"] = client.key
    return client.http


def test_a_prompt_and_its_client_are_called_anything(shared: Stack, client: Client, native: httpx2.Client) -> None:
    address = f"{shared.url.replace('http', 'ws')}/comfy/ws?clientId={quote(ODD, safe='')}"
    with connect(address, additional_headers={"X-API-Key": client.key}) as socket:
        made = native.post("/comfy/prompt", json={"prompt": fake_save(), "client_id": ODD, "prompt_id": ODD})
        assert made.json()["prompt_id"] == ODD, made.text
        while "execution_success" not in str(socket.recv(timeout=60)):
            pass

    written = quote(ODD, safe="")
    assert list(native.get(f"/comfy/history/{written}").json()) == [ODD]
    assert native.get(f"/comfy/api/jobs/{written}").json()["id"] == ODD
    assert native.post(f"/comfy/api/jobs/{written}/cancel").json() == {"cancelled": False}
    assert native.get(f"/comfy/api/job/{written}/status").json()["status"] == "completed"


def test_jobs_are_filtered_in_whatever_letters_and_paged_from_the_start(client: Client, native: httpx2.Client) -> None:
    ids = [client.run(fake_save(f"{number}"))["prompt_id"] for number in range(3)]

    listed = native.get("/comfy/api/jobs?status=Completed, failed&sort_order=ASC&offset=-1").json()

    assert [job["id"] for job in listed["jobs"]][-3:] == ids
    assert listed["pagination"]["offset"] == 0


def test_jobs_are_those_of_the_workflow_that_is_asked_for(client: Client, native: httpx2.Client) -> None:
    mine = native.post("/api/v1/workflows", json={"name": "mine", "prompt": fake_save()}).json()["id"]
    made = [client.finish(client.post_run({"prompt": fake_save()}, each).json()["id"]) for each in (mine, "default")]
    own, other = (run["prompt_id"] for run in made)

    jobs = {job["id"]: job["workflow_id"] for job in native.get("/comfy/api/jobs?limit=1000").json()["jobs"]}
    listed = native.get(f"/comfy/api/jobs?workflow_id={mine}").json()
    of_another = native.get(f"/workflows/{mine}/comfy/api/jobs?workflow_id={jobs[other]}").json()

    assert jobs[own] == mine
    assert [job["id"] for job in listed["jobs"]] == [own]
    assert listed["pagination"]["total"] == 1
    assert of_another["jobs"] == native.get("/comfy/api/jobs?workflow_id=unknown").json()["jobs"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "sort_by=name", "sort_order=up", "status=over"])
def test_ids_comfyui_refuses_are_refused(native: httpx2.Client, query: str) -> None:
    assert native.get(f"/comfy/api/jobs?{query}").status_code == 400
