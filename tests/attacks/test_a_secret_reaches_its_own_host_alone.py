"""A named secret goes to its hosts, for its account, and is nowhere else: no redirect, answer, event, webhook, page,
log or byte on disk has it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from comfyward.store.schema import metadata
from tests.command_line import comfyward
from tests.fakes.http import Receiver, receiver
from tests.fakes.model_sites import Civitai, Hub, civitai, hugging_face
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack
from tests.stack.waiting import until

TOKEN, OTHER_TOKEN = "hf_the-secret-of-alice-9d2c", "civitai-secret-of-alice-71ab"
MODEL = b"a model"
PATH = "/models/checkpoints/model.ckpt"


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with hugging_face() as running:
        running.put("org/gated", "model.ckpt", MODEL, is_gated=True)
        running.grant(TOKEN, "org/gated")
        yield running


@pytest.fixture(scope="module")
def site() -> Iterator[Civitai]:
    with civitai() as running:
        running.put(12, 34, "style.ckpt", MODEL, needs_login=True)
        running.tokens.add(OTHER_TOKEN)
        yield running


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake, hub: Hub, site: Civitai, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    keys = tmp_path_factory.mktemp("keys") / "secret.keys"
    return start_fake_once(hugging_face_url=hub.url, civitai_url=site.url, secret_keys_file=str(keys)).wait_ready()


@pytest.fixture(scope="module")
def alice(stack: Stack) -> Client:
    client = stack.client("alice")
    for name, value in (("HF_TOKEN", TOKEN), ("CIVITAI_TOKEN", OTHER_TOKEN)):
        assert client.http.put(f"/api/v1/secrets/{name}", json={"value": value}).status_code == 200
    return client


@pytest.mark.several_servers
def test_a_run_gets_its_gated_model_and_the_store_no_token(alice: Client, hub: Hub, hook: Receiver) -> None:
    run = alice.run(fake_save(), files={PATH: "hf://org/gated/model.ckpt"}, webhook=hook.url)

    assert run["status"] == "COMPLETED", run["error"]
    assert tokens_of(hub.requests) == {f"Bearer {TOKEN}"}
    assert hub.store.requests, "the bytes came from the store"
    assert tokens_of(hub.store.requests) == set()
    events = [json.dumps(data) for _, data, _ in alice.events(run["id"])]
    received = [hook.next(), hook.next()]
    assert_nowhere(json.dumps(run), *events, *(str(each.body) + str(each.headers) for each in received))
    assert run["files"] == {PATH: f"{hub.url}/org/gated/resolve/main/model.ckpt"}


@pytest.mark.several_servers
def test_an_import_of_a_page_gets_its_file_and_the_store_no_token(alice: Client, site: Civitai) -> None:
    body = {"path": "/models/loras/style.ckpt", "url": f"{site.url}/models/12/a-style"}
    made = alice.http.post("/api/v1/imports", json=body)

    assert made.status_code == 202, made.text
    assert imported(alice, "/models/loras/style.ckpt") is None
    assert tokens_of(site.requests) == {f"Bearer {OTHER_TOKEN}"}
    assert tokens_of(site.store.requests) == set()


def test_the_field_of_the_website_takes_any_address_and_finds_the_name(
    stack: Stack, alice: Client, site: Civitai
) -> None:
    site.put(56, 78, "named-by-its-site.ckpt", MODEL, needs_login=True)
    visitor = stack.visitor("alice")

    begun = posted(visitor, "/files/import", {"url": "urn:air:sdxl:lora:civitai:56@78", "folder": "loras", "name": ""})
    assert begun.status_code == 200, begun.text
    assert imported(alice, "/models/loras/named-by-its-site.ckpt") is None
    assert "/models/loras/named-by-its-site.ckpt" in alice.http.get("/api/v1/files").text

    refused = posted(visitor, "/files/import", {"url": f"{site.url}/models", "folder": "loras", "name": ""})
    assert refused.status_code == 400
    assert "leads to no file" in refused.text


def test_another_account_is_refused_and_told_what_to_do(stack: Stack, alice: Client, hub: Hub, site: Civitai) -> None:
    bob = stack.client("bob")
    assert bob.http.get("/api/v1/secrets").json() == []

    run = bob.run(fake_save(), files={PATH: f"{hub.url}/org/gated/blob/main/model.ckpt"})
    assert (run["status"], run["end_reason"]) == ("ERROR", "download")
    assert f"accept its licence at {hub.url}/org/gated" in run["error"]["hint"]
    assert "HF_TOKEN" in run["error"]["hint"]
    page = stack.visitor("bob").get(f"/runs/{run['id']}").text
    assert "accept its licence" in page
    assert "/account/secrets" in page

    body = {"path": "/models/loras/style.ckpt", "url": "civitai:12@34"}
    assert bob.http.post("/api/v1/imports", json=body).status_code == 202
    assert "store a token" in str(imported(bob, "/models/loras/style.ckpt"))

    bob.http.put("/api/v1/secrets/HF_TOKEN", json={"value": "hf_of_bob"})
    again = bob.run(fake_save(), files={PATH: f"{hub.url}/org/gated/blob/main/model.ckpt"})
    assert "does not accept the token in HF_TOKEN" in again["error"]["hint"]


def test_a_secret_is_listed_replaced_and_deleted_and_never_shown(stack: Stack, alice: Client, hub: Hub) -> None:
    put = alice.http.put("/api/v1/secrets/MINE", json={"value": TOKEN, "hosts": ["models.example", "*.cdn.example"]})
    assert_nowhere(put.text)
    shown = put.json()
    assert (shown["name"], shown["hosts"]) == ("MINE", ["models.example", "*.cdn.example"])
    assert (shown["shared"], shown["readable"], shown["last_used_at"]) == (False, True, None)
    names = [each["name"] for each in alice.http.get("/api/v1/secrets").json()]
    assert names == ["CIVITAI_TOKEN", "HF_TOKEN", "MINE"]
    assert alice.http.delete("/api/v1/secrets/MINE").status_code == 204
    assert alice.http.delete("/api/v1/secrets/MINE").status_code == 404

    for wrong in ({}, {"value": ""}, {"value": f"{TOKEN}\nX: y"}, {"value": [TOKEN]}, {"value": TOKEN, "hosts": ["*"]}):
        refused = alice.http.put("/api/v1/secrets/MINE", json=wrong)
        assert refused.status_code == 400, refused.text
        assert_nowhere(refused.text)
    shared = {"value": TOKEN, "shared": True}
    assert alice.http.put("/api/v1/secrets/HF_TOKEN", json=shared).status_code == 403


def test_the_website_stores_and_deletes_one(stack: Stack) -> None:
    visitor = stack.visitor("carol")
    form = {"name": "HF_TOKEN", "value": TOKEN, "hosts": ""}
    assert posted(visitor, "/account/secrets", form).status_code == 303
    page = visitor.get("/account/secrets").text
    assert "HF_TOKEN" in page
    assert "huggingface.co" in page
    refused = posted(visitor, "/account/secrets", {"name": "MINE", "value": TOKEN, "hosts": "*"})
    assert refused.status_code == 400
    assert "is not a host" in refused.text
    assert_nowhere(page, refused.text)

    assert posted(visitor, "/account/secrets/HF_TOKEN/delete", {}).status_code == 303
    assert "<td><code>HF_TOKEN" not in visitor.get("/account/secrets").text


def test_commands_take_the_value_from_a_file_or_standard_input(stack: Stack, tmp_path: Path) -> None:
    environment = {**os.environ, "COMFYWARD_URL": stack.url, "COMFYWARD_API_KEY": stack.client("erin").key}
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "token").chmod(0o600)

    piped = comfyward("secrets", "put", "MINE", "--host", "a.example", environment=environment, text=f"{TOKEN}\n")
    filed = comfyward("secrets", "put", "HF_TOKEN", "--from-file", str(tmp_path / "token"), environment=environment)
    listed = comfyward("secrets", "list", environment=environment)
    wrong = comfyward("secrets", "put", "OTHER", environment=environment, text=TOKEN)
    deleted = comfyward("secrets", "delete", "MINE", environment=environment)
    missing = comfyward("secrets", "delete", "MINE", environment=environment)

    assert (piped.stdout, piped.returncode) == ("Stored MINE for a.example.\n", 0), piped.stderr
    assert filed.stdout.startswith("Stored HF_TOKEN for "), filed.stderr
    assert "MINE" in listed.stdout
    assert "never" in listed.stdout
    assert (wrong.returncode, "needs 1 to 20 hosts" in wrong.stderr) == (1, True), wrong.stderr
    assert deleted.stdout == "Deleted MINE.\n"
    assert (missing.returncode, "There is no secret 'MINE'" in missing.stderr) == (1, True)
    assert_nowhere(*(each.stdout + each.stderr for each in (piped, filed, listed, wrong, deleted, missing)))


@pytest.mark.several_servers
def test_an_admin_changes_the_key_while_the_server_goes_on(stack: Stack, alice: Client) -> None:
    told = stack.cli("db", "new-key", "--forget-old")

    assert "Encrypted" in told
    assert "Removed 1 older key." in told
    assert all(each["readable"] for each in alice.http.get("/api/v1/secrets").json())
    assert alice.run(fake_save("new key"), files={PATH: "hf://org/gated/model.ckpt"})["status"] == "COMPLETED"


def test_an_admin_shares_one_with_all(stack: Stack, hub: Hub) -> None:
    admin, dora = stack.client(), stack.client("dora")
    assert admin.http.put("/api/v1/secrets/HF_TOKEN", json={"value": TOKEN, "shared": True}).status_code == 200

    [listed] = dora.http.get("/api/v1/secrets").json()
    assert (listed["name"], listed["shared"]) == ("HF_TOKEN", True)
    assert dora.http.delete("/api/v1/secrets/HF_TOKEN?shared=true").status_code == 403
    assert dora.run(fake_save("dora"), files={PATH: "hf://org/gated/model.ckpt"})["status"] == "COMPLETED"

    assert admin.http.delete("/api/v1/secrets/HF_TOKEN?shared=true").status_code == 204


@pytest.mark.several_servers
def test_no_byte_that_the_server_and_its_workers_wrote_has_it(stack: Stack, alice: Client) -> None:
    assert alice.run(fake_save("bytes"), files={PATH: "hf://org/gated/model.ckpt"})["status"] == "COMPLETED"

    assert_nowhere(alice.http.get("/api/v1/imports").text, alice.http.get("/api/v1/runs").text)
    visitor = stack.visitor("alice")
    assert_nowhere(*(visitor.get(path).text for path in ("/account/secrets", "/runs", "/files", "/account")))
    names = set()
    for folder, _, files in os.walk(stack.data_dir):
        for path in (Path(folder, name) for name in files):
            with contextlib.suppress(FileNotFoundError, OSError):  # a socket, or gone meanwhile
                data = path.read_bytes()
                names.add(path.name)
                assert TOKEN.encode() not in data, path
                assert OTHER_TOKEN.encode() not in data, path
    assert "server.log" in names
    assert_nowhere(stack.write(all_rows))


def all_rows(conn: Any) -> str:
    return "\n".join(str(conn.execute(table.select()).all()) for table in metadata.sorted_tables)


def tokens_of(requests: list[Any]) -> set[str]:
    """The Authorization that requests brought."""
    return {value for request in requests for name, value in request.headers.items() if name.lower() == "authorization"}


def assert_nowhere(*texts: str) -> None:
    for text in texts:
        assert TOKEN not in text
        assert OTHER_TOKEN not in text


def imported(client: Client, path: str) -> str | None:
    """The failure of an import once it has ended; None if it has not failed."""
    found = until(
        lambda left: not left or left[0]["state"] == "failed",
        lambda: [each for each in client.http.get("/api/v1/imports").json() if each["path"] == path],
    )
    return found[0]["error"] if found else None


def posted(visitor: httpx2.Client, path: str, form: dict[str, str]) -> httpx2.Response:
    return visitor.post(path, data=form)
