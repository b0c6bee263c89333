"""An account stores what its limits allow, by whichever way; its neighbour notices nothing, and deleting frees room."""

from __future__ import annotations

import base64
from collections.abc import Callable

import httpx2
import pytest

from tests.fakes.http import Origin
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, fake_wait, node
from tests.stack.stack import Client, Stack

LIMIT = 1000
LARGE = bytes(600)  # two files of this size are too much
UPLOADS = 3


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    """A server with small limits."""
    limits = {f"quota_{kind}_bytes": str(LIMIT) for kind in ("inputs", "models", "outputs", "unfinished")}
    return start_fake_once(**limits, quota_unfinished_uploads=str(UPLOADS)).wait_ready()


def _v1_bytes(client: Client, number: int) -> httpx2.Response:
    return client.http.post("/api/v1/files", params={"path": f"/input/{number}"}, content=_distinct(number))


def _v1_form(client: Client, number: int) -> httpx2.Response:
    return client.http.post("/api/v1/files", files={"file": (f"{number}", _distinct(number))})


def _v1_pieces(client: Client, number: int) -> httpx2.Response:
    begun = _begin(client, len(LARGE), f"/input/{number}")
    if begun.status_code != 201:
        return begun
    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    return client.http.patch(begun.headers["location"], content=_distinct(number), headers=headers)


def _v2_asset(client: Client, number: int) -> httpx2.Response:
    form = {"file_path": f"{number}.png", "content_type": "image/png"}
    return client.http.post("/api/v2/assets", files={"file": ("a", _distinct(number))}, data=form)


def _native_image(client: Client, number: int) -> httpx2.Response:
    return client.http.post("/comfy/upload/image", files={"image": (f"{number}.png", _distinct(number))})


def _native_asset(client: Client, number: int) -> httpx2.Response:
    form = {"tags": "input"}
    return client.http.post("/comfy/api/assets", files={"file": (f"{number}.png", _distinct(number))}, data=form)


def _userdata(client: Client, number: int) -> httpx2.Response:
    return client.http.post(f"/comfy/userdata/{number}.json", content=_distinct(number))


WAYS = (_v1_bytes, _v1_form, _v1_pieces, _v2_asset, _native_image, _native_asset, _userdata)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_way_in_has_the_limit(stack: Stack, way: Callable[[Client, int], httpx2.Response]) -> None:
    hostile, other = stack.client(f"hostile{way.__name__}"), stack.client(f"other{way.__name__}")

    assert way(hostile, 1).status_code < 300
    refused = way(hostile, 2)

    assert refused.status_code == 403, refused.text
    assert "Your inputs use 600 B of 1.0 KB" in refused.text
    assert way(other, 1).status_code < 300, "another account has its own"
    assert _storage(hostile)["inputs"] == {"used": 600, "limit": LIMIT}
    _free(hostile)
    assert way(hostile, 3).status_code < 300, "there is room again"


def test_bytes_are_received_no_further_than_there_is_room(stack: Stack) -> None:
    client = stack.client("streams")

    refused = client.http.post("/api/v1/files", params={"path": "/input/x"}, content=bytes(LIMIT + 1))

    assert (refused.status_code, refused.json()["code"]) == (403, "over_quota")
    assert refused.json()["details"] == {"limit": "inputs", "used": 0, "most": LIMIT}
    assert "DELETE /api/v1/files" in refused.json()["hint"]


def test_two_thousand_uploads_are_announced(stack: Stack) -> None:
    hostile, other = stack.client("announces"), stack.client("announces nothing")

    taken = [_begin(hostile, 1).status_code for _ in range(50)]
    assert taken == [201] * UPLOADS + [403] * 47
    large = [_begin(other, LIMIT // 2, "/models/loras/x").status_code for _ in range(UPLOADS)]
    assert large == [201, 201, 403]

    assert _storage(hostile)["uploads"] == {"used": UPLOADS, "limit": UPLOADS}
    assert _storage(other)["unfinished"] == {"used": LIMIT, "limit": LIMIT}


def test_a_run_over_the_limit_keeps_its_outputs_and_the_next_is_refused(stack: Stack) -> None:
    hostile, other = stack.client("produces"), stack.client("produces little")
    saves = {f"{number}": node("FakeSave", text=f"{number}" * 250, prefix=f"{number}") for number in range(5)}
    large = hostile.run(saves)
    assert hostile.http.get(large["output"][0]["url"]).status_code == 200

    refusals = [
        hostile.post_run({"prompt": fake_save()}),
        hostile.http.post("/api/v2/jobs", json={"workflow": fake_save()}, headers={"Idempotency-Key": "k"}),
        hostile.http.post("/comfy/prompt", json={"prompt": fake_save()}),
        hostile.http.post(f"/api/v1/workflows/{large['workflow_id']}/runs/{large['id']}/retry"),
    ]

    assert [refused.status_code for refused in refusals] == [403] * 4, [refused.text for refused in refusals]
    assert all("Your outputs use" in refused.text for refused in refusals)
    assert "new runs are refused until you delete some" in stack.visitor("produces").get("/account/usage").text
    assert other.run(fake_save())["status"] == "COMPLETED"
    hostile.http.delete(f"/api/v1/workflows/{large['workflow_id']}/runs/{large['id']}")
    assert _storage(hostile)["outputs"]["used"] == 0


def test_runs_queued_before_the_limit_still_execute(stack: Stack) -> None:
    client, admin = stack.client("queues"), stack.client()
    path = f"/api/v1/accounts/{client.http.get('/api/v1/me').json()['id']}/storage"
    stack.cli("users", "share", "queues", "--max-running", "1")
    client.run(fake_save("kept"))
    holds, waits = client.submit(fake_wait(3600)), client.submit(fake_save("later"))
    client.wait_for(holds, "status", state="running")

    assert admin.http.patch(path, json={"outputs": 1}).status_code == 200

    assert client.post_run({"prompt": fake_save()}).status_code == 403
    assert client.get(waits)["status"] == "QUEUED"
    client.cancel(holds)
    run = client.finish(waits)
    assert (run["status"], len(run["outputs"])) == ("COMPLETED", 1)


def test_imports_have_the_limit_when_they_begin_and_when_they_end(stack: Stack, site: Origin) -> None:
    hostile, other = stack.client("imports"), stack.client("imports little")

    def begin(client: Client, number: int) -> int:
        url = site.put(f"/{number}", _distinct(number))
        return client.http.post("/api/v1/imports", json={"path": f"/input/{number}", "url": url}).status_code

    def ended(client: Client) -> list[tuple[str, str | None]]:
        while True:
            found = client.http.get("/api/v1/imports").json()
            if all(each["state"] != "waiting" for each in found):
                return sorted((each["state"], each["error"]) for each in found)

    assert [begin(hostile, 1), begin(hostile, 2), begin(other, 3)] == [202, 202, 202]

    full = "Your inputs use 600 B of 1.0 KB; this needs 600 B more."
    assert ended(hostile) == [("failed", full)]
    assert ended(other) == []
    assert _storage(other)["inputs"]["used"] == 600
    assert _storage(hostile)["inputs"]["used"] == 600
    stack.cli("users", "quota", "imports", "--inputs", "600")
    assert begin(hostile, 4) == 403


def test_inputs_inside_requests_are_counted(stack: Stack) -> None:
    client = stack.client("sends inline")
    inline = "data:;base64," + base64.b64encode(bytes(LIMIT)).decode()

    client.submit(fake_save(), files={"/input/a": inline})

    assert _storage(client)["outputs"]["used"] >= LIMIT


def test_an_operator_gives_an_account_more(stack: Stack) -> None:
    client = stack.client("pays")
    assert client.http.post("/api/v1/files?path=/input/a", content=bytes(LIMIT + 1)).status_code == 403

    assert "2.0 KB" in stack.cli("users", "quota", "pays", "--inputs", "2K")

    assert client.http.post("/api/v1/files?path=/input/a", content=bytes(LIMIT + 1)).status_code == 201
    assert "1.0 KB" in stack.cli("users", "quota", "pays", "--default")


def test_an_admin_gives_an_account_more_over_the_api(stack: Stack) -> None:
    admin, client, other = stack.client(), stack.client("asks the API"), stack.client("asks for nothing")
    [found] = [each for each in admin.http.get("/api/v1/accounts").json() if each["name"] == "asks the API"]
    path = f"/api/v1/accounts/{found['id']}/storage"
    assert client.http.post("/api/v1/files?path=/input/a", content=bytes(LIMIT + 1)).status_code == 403

    given = admin.http.patch(path, json={"inputs": LIMIT + 1, "outputs": 0}).json()

    assert given["own_limits"] == {"inputs": LIMIT + 1, "outputs": 0}
    assert client.http.post("/api/v1/files?path=/input/a", content=bytes(LIMIT + 1)).status_code == 201
    assert _storage(client)["inputs"] == {"used": LIMIT + 1, "limit": LIMIT + 1}
    assert _storage(client)["outputs"]["limit"] is None
    assert _storage(other)["inputs"]["limit"] == LIMIT
    assert admin.http.patch(path, json={"inputs": None}).json()["own_limits"] == {"outputs": 0}
    assert _storage(client)["inputs"]["limit"] == LIMIT
    for refused in ({"inputs": -1}, {"models": "a lot"}, {"uploads": 1e300}):
        assert admin.http.patch(path, json=refused).status_code == 400
    assert admin.http.get(path).json()["own_limits"] == {"outputs": 0}


def test_an_admin_gives_an_account_more_on_the_website(stack: Stack) -> None:
    admin, client = stack.visitor(), stack.client("asks a person")
    page = f"/fleet/users/{client.http.get('/api/v1/me').json()['id']}/storage"
    assert f'href="{page}"' in admin.get("/fleet/users").text

    saved = admin.post(page, data={"inputs": "2 KB", "models": "0", "outputs": "", "unfinished": "", "uploads": "7"})

    assert saved.headers["location"] == page
    assert 'name="inputs" value="2 KB" placeholder="1.0 KB"' in admin.get(page).text
    limits = {name: each["limit"] for name, each in _storage(client).items()}
    assert limits == {"inputs": 2000, "models": None, "outputs": LIMIT, "unfinished": LIMIT, "uploads": 7}
    assert "2.0 KB" in stack.visitor("asks a person").get("/account/usage").text
    for refused in ({"inputs": "a lot"}, {"uploads": "-1"}, {"models": "9" * 17 + " TB"}):
        assert admin.post(page, data=refused).status_code == 400
    assert _storage(client)["uploads"]["limit"] == 7


def test_a_member_gives_itself_nothing(stack: Stack) -> None:
    client, visitor = stack.client("helps itself"), stack.visitor("helps itself")
    own = client.http.get("/api/v1/me").json()["id"]
    refused = [
        client.http.get("/api/v1/accounts"),
        client.http.get(f"/api/v1/accounts/{own}/storage"),
        client.http.patch(f"/api/v1/accounts/{own}/storage", json={"inputs": 0}),
        visitor.get(f"/fleet/users/{own}/storage"),
        visitor.post(f"/fleet/users/{own}/storage", data={"inputs": "0"}),
    ]

    assert [each.status_code for each in refused] == [403] * 5
    assert _storage(client)["inputs"]["limit"] == LIMIT


def _begin(client: Client, size: int, path: str = "/input/x") -> httpx2.Response:
    named = base64.b64encode(path.encode()).decode()
    return client.http.post("/api/v1/uploads", headers={"Upload-Length": f"{size}", "Upload-Metadata": f"path {named}"})


def _distinct(number: int) -> bytes:
    return number.to_bytes(1, "big") + LARGE[1:]


def _storage(client: Client) -> dict[str, dict[str, int]]:
    return dict(client.http.get("/api/v1/me").json()["storage"])


def _free(client: Client) -> None:
    assets = client.http.get("/comfy/api/assets").json()["assets"]
    for asset in assets:
        assert client.http.delete(f"/comfy/api/assets/{asset['id']}").status_code < 300
