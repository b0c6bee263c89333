"""Over the API, the owner of a workflow asks for packs or withdraws that, and an admin accepts or declines."""

from __future__ import annotations

import pytest

from comfyward.store import environments
from tests.attacks.environment_lab import Lab
from tests.stack.conftest import StartFake
from tests.stack.graphs import node
from tests.stack.stack import Client, Stack
from tests.stack.web.environments import write_node_map

SOURCE = "git+https://github.com/someone/fancy-nodes@HEAD"
REQUESTS = "/api/v1/environment-requests"


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    stack = start_fake_once(fleet="none", node_map_dir=write_node_map(tmp_path_factory.mktemp("map")))
    Lab(stack).worker()  # has a catalog, in which the class is missing
    return stack


def lacking(client: Client) -> str:
    """A workflow whose class no worker has."""
    body = {"name": "Fancy pictures", "prompt": {"1": node("Fancy Blend")}}
    return str(client.http.post("/api/v1/workflows", json=body).json()["id"])


def asked(client: Client) -> dict[str, object]:
    answer = client.http.post(REQUESTS, json={"workflow": lacking(client)})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_request_is_accepted_into_a_draft(stack: Stack) -> None:
    member, other, admin = stack.client("asker"), stack.client("stranger"), stack.client()
    request = asked(member)
    assert (request["state"], request["account"], request["reply"]) == ("waiting", "asker", "")
    (pack,) = request["packs"]  # type: ignore[misc]
    assert (pack["source"], pack["classes"], pack["from"]) == (SOURCE, ["Fancy Blend"], "map")

    assert member.http.get(REQUESTS).json() == [request]
    assert other.http.get(REQUESTS).json() == []
    assert member.http.get(REQUESTS, params={"everybody": True}).status_code == 403
    waiting = admin.http.get(REQUESTS, params={"everybody": True, "state": "waiting"}).json()
    assert request in waiting
    one = f"{REQUESTS}/{request['id']}"
    for path in ("accept", "decline"):
        assert member.http.post(f"{one}/{path}", json={}).status_code == 403

    accepted = admin.http.post(f"{one}/accept", json={})
    assert (accepted.status_code, accepted.json()["environment"]) == (200, "for-asker")
    assert stack.write(environments.get, "for-asker").spec.endswith(f'[[pack]]\nsource = "{SOURCE}"\n')
    (shown,) = member.http.get(REQUESTS, params={"state": "accepted"}).json()
    assert (shown["state"], shown["environment"], shown["decided_at"] is not None) == ("accepted", "for-asker", True)
    assert admin.http.post(f"{one}/decline", json={}).status_code == 409
    assert member.http.delete(one).status_code == 409


def test_a_request_is_declined_with_a_reason(stack: Stack) -> None:
    member, admin = stack.client("declined"), stack.client()
    one = f"{REQUESTS}/{asked(member)['id']}"

    declined = admin.http.post(f"{one}/decline", json={"reply": "It fetches models by itself."})

    assert (declined.status_code, declined.json()["state"]) == (200, "declined")
    assert member.http.get(REQUESTS).json()[0]["reply"] == "It fetches models by itself."


def test_whoever_asked_withdraws(stack: Stack) -> None:
    member, other = stack.client("hesitant"), stack.client("stranger")
    one = f"{REQUESTS}/{asked(member)['id']}"

    assert other.http.delete(one).status_code == 404
    assert member.http.delete(one).status_code == 204

    assert member.http.get(REQUESTS).json() == []
    assert member.http.delete(one).status_code == 404
    on_a_page = asked(member)
    done = stack.visitor("hesitant").post(f"/environment-requests/{on_a_page['id']}/withdraw")
    assert (done.status_code, member.http.get(REQUESTS).json()) == (303, [])


def test_nothing_is_asked_for_where_nothing_is_missing(stack: Stack) -> None:
    member = stack.client("content")
    workflow = member.http.post("/api/v1/workflows", json={"name": "w", "prompt": {"1": node("Paint")}}).json()["id"]

    refused = member.http.post(REQUESTS, json={"workflow": workflow})

    assert (refused.status_code, refused.json()["message"]) == (
        409,
        "Nothing is missing that an environment could have.",
    )
    assert member.http.post(REQUESTS, json={"workflow": "x"}).status_code == 404
    assert stack.client("another").http.post(REQUESTS, json={"workflow": workflow}).status_code == 404
