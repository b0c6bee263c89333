"""Admins add packs, lock, try and promote over the API: the server makes the revision, and says how far it is."""

from __future__ import annotations

import io
import socket
import zipfile
from collections.abc import Iterator

import pytest

from comfyward.environments.target import TARGET
from comfyward.ids import new_secret
from comfyward.store import tokens
from comfyward.store.db import now_ms
from tests.attacks.environment_lab import orders, report
from tests.attacks.raw_worker import RawWorker, catalog_of
from tests.stack.conftest import StartFake
from tests.stack.made_environments import Admin
from tests.stack.stack import END_TIMEOUT_S, Stack

NODES = "NODE_CLASS_MAPPINGS = {'Good': object}\n"


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none")


def archive(name: str, text: str) -> tuple[str, bytes]:
    """A form's file: the zip archive of a pack."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as writing:
        writing.writestr(f"{name}/__init__.py", text)
    return f"{name}.zip", packed.getvalue()


def test_a_pack_is_added_locked_and_removed(stack: Stack) -> None:
    admin = Admin(stack, "portraits")
    added = admin.http.post("/api/v1/environments/portraits/packs", files={"file": archive("good", NODES)})
    assert added.status_code == 200, added.text
    assert [pack.partition("@")[0] for pack in added.json()["packs"]] == ["folder:good"]

    begun = admin.post("lock", 202)
    assert begun["state"] == "waiting"
    first = admin.locked()
    assert (first["id"], first["state"], first["revision"], first["is_new"]) == (begun["id"], "done", 1, True), first
    shown = admin.get()
    assert (shown["is_changed"], [each["number"] for each in shown["revisions"]]) == (False, [1])
    admin.post("lock", 202)
    again = admin.locked()
    assert (again["state"], again["revision"], again["is_new"]) == ("done", 1, False)

    removed = admin.http.delete("/api/v1/environments/portraits/packs/good")
    assert removed.json()["packs"] == []
    assert admin.post("try", 202)["locking"]["then"] == "try"
    assert admin.locked()["revision"] == 2
    newest = admin.get()["revisions"][0]
    assert (newest["number"], newest["asked_at"] is not None) == (2, True)
    changes = admin.get("/revisions/2/diff")["changes"]
    assert [(each["kind"], each["name"], each["after"]) for each in changes] == [("pack", "good", None)]
    back = admin.get("/revisions/1/diff?from=2")
    assert (back["before"], back["after"]) == ("portraits@2", "portraits@1")
    assert [(each["kind"], each["before"]) for each in back["changes"]] == [("pack", None)]


def test_a_locking_that_fails_says_why(stack: Stack) -> None:
    admin = Admin(stack, "broken")
    assert admin.http.get("/api/v1/environments/broken/lock").status_code == 404
    admin.post("packs", 200, sources=["git+http://127.0.0.1:9/nobody/here@main"])

    admin.post("lock", 202)

    failed = admin.locked()
    assert (failed["state"], failed["revision"]) == ("failed", None)
    assert failed["message"].startswith("The repository http://127.0.0.1:9/nobody/here cannot be fetched")
    assert "Check the address" in failed["hint"]
    assert admin.get()["revisions"] == []


def test_a_locking_that_takes_too_long_has_failed(start_fake: StartFake, silent: Silent) -> None:
    admin = Admin(start_fake(fleet="none", environment_build_s="1"), "slow")
    admin.post("packs", 200, sources=[silent.source])
    admin.post("lock", 202)

    failed = admin.locked()

    assert (failed["state"], failed["revision"]) == ("failed", None)
    assert failed["message"].startswith("It took longer than 1 s. Its last step: ")


def test_an_unknown_release_is_refused_at_every_door(stack: Stack) -> None:
    admin, unknown = Admin(stack, "unknown"), 'comfyui = "9.9.9"\n'
    one = "/api/v1/environments/unknown"
    for answer in (
        admin.http.post("/api/v1/environments", json={"name": "other", "spec": unknown}),
        admin.http.patch(one, json={"spec": unknown}),
        admin.http.post(f"{one}/import", content=unknown.encode()),
        admin.http.post("/api/v1/environments/other/import", content=unknown.encode()),
    ):
        assert answer.status_code == 400, answer.text
        assert "ComfyUI 9.9.9 is not among the releases" in answer.json()["message"]
    assert admin.get()["comfyui"].startswith("folder:")
    assert admin.http.get("/api/v1/environments/other").status_code == 404


def test_only_admins_lock(stack: Stack) -> None:
    Admin(stack, "ours")
    member = stack.client("member").http
    for method, path, body in (
        ("POST", "lock", {}),
        ("GET", "lock", None),
        ("DELETE", "lock", None),
        ("POST", "packs", {"sources": ["pypi:comfyui-tooling-nodes==0.1.0"]}),
        ("DELETE", "packs/good", None),
        ("GET", "revisions/1/diff", None),
        ("DELETE", "trials/x", None),
    ):
        answer = member.request(method, f"/api/v1/environments/ours/{path}", json=body)
        assert answer.status_code == 403, (method, path, answer.text)


def test_promoting_a_changed_spec_locks_and_tries_it_first(stack: Stack) -> None:
    admin = Admin(stack, "promoted")
    token = stack.write(lambda conn: tokens.create(conn, "promoted", now_ms()))
    worker = RawWorker(stack, token, "promoted", secret=new_secret())
    assert worker.hello(catalog_of("Paint"), target=TARGET, ready=[]).status_code == 200

    assert admin.post("promote", 202)["locking"]["then"] == "promote"
    assert admin.locked()["state"] == "done"

    digest = admin.get()["revisions"][0]["digest"]
    admin.until(lambda _: orders(worker) == [digest])
    assert admin.get()["current"] is None
    assert worker.put_catalog(catalog_of("Paint"), digest).status_code == 204
    assert worker.call("PUT", f"environments/{digest}/trial", json={"ready": True}).status_code == 204
    assert report(worker, digest, "ready").status_code == 200
    assert admin.until(lambda shown: shown["current"] is not None)["current"] == 1


GIT_GIVES_UP_S = 60  # by itself, of a host that says nothing


class Silent:
    """A git server that takes connections and says nothing."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.settimeout(END_TIMEOUT_S)
        self.calls: list[socket.socket] = []

    @property
    def source(self) -> str:
        return f"git+http://127.0.0.1:{self.listening.getsockname()[1]}/nobody/here@main"

    def called(self) -> socket.socket:
        """The next connection, whose caller waits."""
        self.calls.append(self.listening.accept()[0])
        return self.calls[-1]

    def close(self) -> None:
        for each in (self.listening, *self.calls):
            each.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


def wait_until_gone(call: socket.socket) -> None:
    """Returns when no process holds the other end of a call any more."""
    call.settimeout(GIT_GIVES_UP_S / 2)
    while call.recv(4096):
        pass


def test_a_locking_is_cancelled_and_its_processes_end(stack: Stack, silent: Silent) -> None:
    admin = Admin(stack, "slow")
    admin.post("packs", 200, sources=[silent.source])
    begun = admin.post("lock", 202)
    call = silent.called()
    assert admin.post("lock", 202)["id"] == begun["id"]
    assert admin.post("lock", 409, update=True)["error"]
    assert admin.until(lambda shown: shown["step"] == "Fetching here", "/lock")["state"] == "locking"

    assert admin.http.delete("/api/v1/environments/slow/lock").status_code == 204

    assert admin.get("/lock")["state"] == "cancelled"
    wait_until_gone(call)
    admin.http.delete("/api/v1/environments/slow/packs/here")
    admin.post("lock", 202)
    assert admin.locked()["state"] == "done"


def test_the_next_server_takes_it_over(start_fake: StartFake, silent: Silent) -> None:
    stack = start_fake(fleet="none")
    admin = Admin(stack, "slow")
    admin.post("packs", 200, sources=[silent.source])
    begun = admin.post("lock", 202)
    silent.called()
    stack.kill()

    stack.start()

    silent.called()
    assert admin.get("/lock")["id"] == begun["id"]
    silent.close()
    failed = admin.locked()
    assert (failed["state"], "cannot be fetched" in failed["message"]) == ("failed", True), failed
