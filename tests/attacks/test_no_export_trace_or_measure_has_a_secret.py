"""An account's key, login, named secret, partner's key and secret of webhooks, all used: its export, the traces, the
measures, the logs and the pages of errors have none of them, and the database only what signs webhooks."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, select

from comfyward.store import accounts
from comfyward.store.schema import metadata
from tests.fakes.http import Origin, Receiver, receiver
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, node
from tests.stack.stack import Client, Stack

NAMED, PARTNERS = "named-secret-7e1b", "partners-key-55f0"


@pytest.fixture(scope="module")
def traces() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake, traces: Receiver) -> Stack:
    return start_fake_once(log_format="json", otel_endpoint=traces.url.removesuffix("/hook")).wait_ready()


def test_an_account_uses_all_that_it_has(stack: Stack, traces: Receiver, site: Origin, hook: Receiver) -> None:
    ada, browser = stack.client("ada"), stack.visitor("ada")
    signs = stack.write(accounts.by_name, "ada").webhook_secret
    secrets = {ada.key, browser.cookies["comfyward_session"], NAMED, PARTNERS, signs}
    run = _uses_all(ada, site, hook)
    assert site.requests[-1].headers["Authorization"] == f"Bearer {NAMED}"

    told: dict[str, str] = {}
    while run["id"] not in told.get("trace", ""):
        told["trace"] = traces.next().body.decode("latin-1")
    with zipfile.ZipFile(io.BytesIO(browser.get("/account/export.zip").content)) as export:
        told |= {f"export {name}": export.read(name).decode("latin-1") for name in export.namelist()}
    assert f"export runs/{run['id']}/run.json" in told
    told["run"], told["metrics"] = json.dumps(run), ada.http.get("/metrics").text
    told["events"] = json.dumps([data for _, data, _ in ada.events(run["id"])])
    told |= {path: browser.get(path).text for path in ("/runs/none", "/files", f"/runs/{run['id']}", "/account/data")}
    told["refusal"] = ada.http.post("/api/v1/workflows/default/runs", json={"prompt": None}).text
    told["server's log"] = (stack.data_dir / "server.log").read_text()
    told |= {f"log {path.name}": path.read_text() for path in (stack.data_dir / "logs").glob("*.log")}

    assert {(where, secret) for where, text in told.items() for secret in secrets if secret in text} == set()
    assert {secret for secret in secrets if secret in stack.write(_all_rows)} == {signs}


def test_a_run_that_fails_tells_none(stack: Stack) -> None:
    ada = stack.client("ada")

    extra_data = {"api_key_comfy_org": PARTNERS, "auth_token_comfy_org": PARTNERS}
    run = ada.run({"1": node("FakeError", message="no")}, extra_data=extra_data)

    assert run["status"] == "ERROR"
    page = stack.visitor("ada").get(f"/runs/{run['id']}").text
    log = ada.http.get(f"/api/v1/workflows/{run['workflow_id']}/runs/{run['id']}/log").text
    assert PARTNERS not in json.dumps(run) + page + log + stack.write(_all_rows)


def _uses_all(ada: Client, site: Origin, hook: Receiver) -> dict[str, object]:
    host = site.url.removeprefix("http://")
    named = {"value": NAMED, "hosts": [f"http://{host}"]}
    assert ada.http.put("/api/v1/secrets/MINE", json=named).status_code == 200
    url, extra_data = site.put("/held", b"by a secret alone"), {"api_key_comfy_org": PARTNERS}
    run = ada.run(fake_save(), files={"/input/a": url}, extra_data=extra_data, webhook=hook.url)
    assert run["status"] == "COMPLETED"
    for _ in range(2):
        assert hook.next().headers["webhook-signature"]
    return run


def _all_rows(conn: Connection) -> str:
    """Every value of the database."""
    return "\n".join(repr(tuple(row)) for table in metadata.tables.values() for row in conn.execute(select(table)))
