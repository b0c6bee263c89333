"""Account settings: keys, the webhook secret, deliveries, usage, everything exported, everything deleted."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile

from standardwebhooks import Webhook

from tests.fakes.http import Receiver
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, fake_wait, picture
from tests.stack.stack import Stack
from tests.stack.waiting import until


def test_keys_are_shown_once_and_end(real: Stack, account: str) -> None:
    visitor = real.visitor(account)

    page = visitor.post("/account/keys", data={"name": "production", "days": "30"}).text
    [key] = re.findall(r'id="new-key"[^>]*>(cw_[^<]+)<', page)
    later = visitor.get("/account").text
    [key_id] = re.findall(r"/account/keys/([^/]+)/revoke", later)
    bearer = {"Authorization": f"Bearer {key}"}

    assert key not in later
    assert "production" in later
    assert visitor.get("/api/v1/me", headers=bearer).json()["name"] == account
    assert real.visitor(f"{account}-friend").post(f"/account/keys/{key_id}/revoke").status_code == 404
    assert visitor.post(f"/account/keys/{key_id}/revoke").status_code == 303
    assert visitor.get("/api/v1/me", headers=bearer).status_code == 401
    assert visitor.post("/account/keys", data={"name": "", "days": ""}).status_code == 400
    assert visitor.post("/account/keys", data={"name": "x", "days": "-1"}).status_code == 400


def test_a_rotated_secret_signs_beside_the_former_one(shared: Stack, account: str, hook: Receiver) -> None:
    client, visitor = shared.client(account), shared.visitor(account)
    former = client.http.get("/api/v1/webhooks/secret").json()["secret"]
    assert former not in visitor.get("/account/webhooks").text
    assert former in visitor.post("/account/webhooks/secret").text

    [fresh] = re.findall(r"whsec_[A-Za-z0-9+/=]+", visitor.post("/account/webhooks/rotate").text)
    run = client.run(fake_save(), webhook=f"{hook.url}/hook")

    request = hook.next()
    for secret in (former, fresh):
        assert Webhook(secret).verify(request.body, request.headers)["id"] == run["id"]
    [delivery, _] = re.findall(r"/account/webhooks/(msg_[^/]+)/resend", visitor.get("/account/webhooks").text)
    details = visitor.get(f"/account/webhooks/{delivery}").text
    assert run["id"] in details
    hook.next()
    assert visitor.post(f"/account/webhooks/{delivery}/resend").status_code == 303
    assert json.loads(hook.next().body)["id"] == run["id"]
    assert shared.visitor(f"{account}-friend").get(f"/account/webhooks/{delivery}").status_code == 404


def test_usage_by_day_and_as_csv(real: Stack, account: str) -> None:
    client, visitor = real.client(account), real.visitor(account)
    run = client.run(picture(0x777777, size=400))

    series = visitor.get("/account/usage.json", params={"by": "key"}).json()
    rows = list(csv.DictReader(io.StringIO(visitor.get("/account/usage.csv").text)))

    assert (len(series["days"]), series["groups"]) == (30, ["test"])
    assert series["gpu_s"][0][-1] == run["run_time"] / 1000
    assert [(row["accelerator"], row["runs"]) for row in rows] == [("CPU", "1")]
    assert float(rows[0]["gpu_seconds"]) == run["run_time"] / 1000
    assert visitor.get("/account/usage.csv", params={"by": "moon"}).status_code == 400
    assert f"{run['run_time'] / 1000:.2f} credits" in visitor.get(f"/runs/{run['id']}").text


def test_everything_can_be_exported(real: Stack, account: str) -> None:
    client, visitor = real.client(account), real.visitor(account)
    run = client.run(picture(prefix="mine"))
    client.http.post("/api/v1/files", params={"path": "/input/a.txt"}, content=b"hello")

    archive = zipfile.ZipFile(io.BytesIO(visitor.get("/account/export.zip").content))
    outputs = zipfile.ZipFile(io.BytesIO(visitor.get(f"/runs/{run['id']}/outputs.zip").content))

    assert archive.testzip() is None
    names = archive.namelist()
    assert {"account.json", "keys.json", "usage.json", "files/input/a.txt"} <= set(names)
    assert archive.read("files/input/a.txt") == b"hello"
    assert f"runs/{run['id']}/run.json" in names
    assert json.loads(archive.read(f"runs/{run['id']}/run.json"))["status"] == "COMPLETED"
    assert outputs.read("mine_00001_.png") == archive.read(f"runs/{run['id']}/mine_00001_.png")
    assert client.key not in str([archive.read(name) for name in names])


def test_a_deleted_account_is_erased_with_its_data(start_fake: StartFake) -> None:
    stack = start_fake().wait_ready()
    client, visitor, admin = stack.client("alice"), stack.visitor("alice"), stack.visitor()
    client.http.post("/api/v1/files", params={"path": "/input/a.txt"}, content=b"hello")
    client.run(fake_save())
    running = client.submit(fake_wait(60))
    client.wait_for(running, "status", state="running")

    assert visitor.post("/account/delete", data={"name": "someone else"}).status_code == 403
    assert visitor.post("/account/delete", data={"name": "alice"}).status_code == 303

    assert client.http.get("/api/v1/me").status_code == 401
    assert visitor.get("/workflows").status_code == 303
    assert "alice" not in admin.get("/fleet/users").text
    until(lambda text: "busy" not in text, lambda: admin.get("/fleet").text)
    assert stack.stop() == 0
    stack.start()  # maintenance begins with a start
    again = stack.client("alice")
    assert again.http.get("/api/v1/files").json() == []
    assert again.http.get("/api/v1/runs").json() == []
    assert stack.visitor().post("/account/delete", data={"name": "admin"}).status_code == 409
