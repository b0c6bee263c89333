"""The fleet for its admin: what each worker is and does, its log, draining and restarting it; users and limits."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import httpx2
import pytest

from tests import loopback
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, fake_wait
from tests.stack.stack import Stack
from tests.stack.waiting import until


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(accelerators="L4,T4").wait_ready()


def page_once(admin: httpx2.Client, holds: Callable[[str], bool]) -> str:
    """The page once something holds: it is what the browser asks for every few seconds."""
    return until(holds, lambda: admin.get("/fleet").text)


@pytest.mark.several_servers
def test_a_worker_with_its_run_log_and_vitals(stack: Stack) -> None:
    client, admin = stack.client(), stack.visitor()
    waits = client.submit(fake_save(), accelerator="L4")
    running = client.submit(fake_wait(60))
    client.wait_for(running, "status", state="running")

    text = page_once(admin, lambda page: running[:8] in page and "0 B of" not in page.partition("Cache")[2][:40])

    assert "busy" in text
    waiting = re.search(r"<strong>L4</strong>.*?</tr>", text, re.DOTALL)
    assert waiting is not None
    assert '<td class="number">1</td>' in waiting[0]
    log = admin.get(f"/fleet/workers/{stack.worker_id}/log").text
    assert "serves pool" in log
    assert "--- ComfyUI ---" in log
    assert admin.get("/fleet/workers/nobody/log").status_code == 404
    for run_id in (running, waits):
        client.cancel(run_id)


def test_a_run_before_any_gpu_is_up_says_what_it_waits_for(stack: Stack) -> None:
    client, visitor = stack.client(), stack.visitor()
    workflow = visitor.get("/api/v1/workflows/default").json()["id"]
    first, second = (client.submit(fake_save(), accelerator=name) for name in ("T4", "CPU"))
    client.finish(second)

    nobody = "No worker has ever joined pool T4, and no fleet is configured to start one."
    assert nobody in visitor.get(f"/workflows/{workflow}/flight").text
    assert f'{nobody} <a href="/fleet#add">Add worker</a>' in visitor.get(f"/runs/{first}").text
    come_and_go(stack, "T4")
    assert "Starting a T4…" in visitor.get(f"/workflows/{workflow}/flight").text
    assert "Starting a T4…" in visitor.get(f"/runs/{first}").text
    assert "Add worker" not in visitor.get(f"/runs/{first}").text
    assert "starting" not in visitor.get(f"/runs/{second}").text


def come_and_go(stack: Stack, pool: str) -> None:
    """As a worker that serves a pool does between two bursts of work."""
    token = stack.cli("tokens", "create", "comes-and-goes").strip()
    assert stack.worker_hello(token, id="x", pool=pool).status_code == 200
    assert stack.worker_call(token, "goodbye", {"worker_id": "x", "incarnation": "x"}).status_code < 300


@pytest.mark.several_servers
def test_a_drained_worker_finishes_leaves_and_stays_away_until_it_is_resumed(stack: Stack) -> None:
    client, admin = stack.client(), stack.visitor()
    running = client.submit(fake_wait(3))
    client.wait_for(running, "status", state="running")

    assert admin.post(f"/fleet/workers/{stack.worker_id}/drain").status_code == 303
    assert client.finish(running)["status"] == "COMPLETED"
    page_once(admin, lambda page: "drained" in page)
    waiting = client.submit(fake_save())
    assert client.get(waiting)["status"] == "QUEUED"

    assert admin.post(f"/fleet/workers/{stack.worker_id}/resume").status_code == 303
    assert client.finish(waiting)["status"] == "COMPLETED"


def test_a_restarted_worker_comes_back(stack: Stack) -> None:
    client, admin = stack.client(), stack.visitor()
    before = stack.comfyui_pid()

    assert admin.post(f"/fleet/workers/{stack.worker_id}/restart").status_code == 303

    assert client.run(fake_save())["status"] == "COMPLETED"
    page_once(admin, lambda page: "idle" in page and bool(stack.comfyui_pids()) and before not in stack.comfyui_pids())


def test_users_are_invited_limited_and_made_admins(stack: Stack) -> None:
    admin = stack.visitor()

    page = admin.post("/fleet/users", data={"name": "dora", "credit_limit": "50", "role": "member"}).text
    [link] = re.findall(r'id="invite-link"[^>]*>([^<]+)<', page)
    with loopback.Client(base_url=stack.url, headers={"Origin": stack.url}) as dora:
        assert dora.post(link.removeprefix(stack.url), data={"password": "a long password"}).status_code == 303
        about = dora.get("/api/v1/me").json()
        assert (about["name"], about["credit_limit"], about["role"]) == ("dora", 50.0, "member")
        assert dora.get("/fleet").status_code == 403
        change = {"credit_limit": "", "role": "admin"}
        assert admin.post(f"/fleet/users/{about['id']}", data=change).status_code == 303
        assert dora.get("/fleet").status_code == 200
        assert dora.get("/api/v1/me").json()["credit_limit"] is None
    assert admin.post("/fleet/users", data={"name": "dora", "credit_limit": "", "role": "member"}).status_code == 409
    assert (
        admin.post("/fleet/users", data={"name": "eve", "credit_limit": "a lot", "role": "member"}).status_code == 400
    )
    own = admin.get("/api/v1/me").json()["id"]
    assert admin.post(f"/fleet/users/{about['id']}", data={"role": "member", "credit_limit": ""}).status_code == 303
    assert admin.post(f"/fleet/users/{own}", data={"role": "member", "credit_limit": ""}).status_code == 409
    assert "/enter/" in admin.post(f"/fleet/users/{about['id']}/link").text


def test_another_machine_joins_with_the_command_that_the_page_makes(stack: Stack) -> None:
    admin, member = stack.visitor(), stack.visitor("member")
    form = {"name": "gpu-box", "pool": "L4", "hours": "8"}

    shown = admin.post("/fleet/tokens", data=form).text

    command = re.search(r"comfyward worker --server \S+ --token \S+ --pool L4", shown)
    assert command is not None
    assert stack.url in command[0]
    [token] = [each for each in json.loads(stack.cli("tokens", "list", "--json")) if each["name"] == "gpu-box"]
    assert (token["pool"], token["expires_at"] - token["created_at"]) == ("L4", 8 * 3600 * 1000)
    assert member.post("/fleet/tokens", data=form).status_code == 403


@pytest.mark.parametrize("hours", ["8h", "-1", "0", "1.5", "nan"])
def test_a_token_whose_hours_are_none_is_not_made(stack: Stack, hours: str) -> None:
    refused = stack.visitor().post("/fleet/tokens", data={"name": f"box for {hours}", "pool": "", "hours": hours})

    assert refused.status_code == 400
    assert "is not a number of hours" in refused.text
    assert f"box for {hours}" not in stack.cli("tokens", "list")
