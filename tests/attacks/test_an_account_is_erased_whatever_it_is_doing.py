"""An account ends in the middle of something: nothing of it is left, nothing fails, and its neighbour goes on."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Connection, func, select
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin as Place

from comfyward.store import accounts
from comfyward.store.schema import accounts as accounts_table
from comfyward.store.schema import metadata
from tests.attacks.ids_of_accounts import made
from tests.fakes.http import Origin, Receiver
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, fake_wait
from tests.stack.stack import Client, Stack
from tests.stack.waiting import until
from tests.stack.web.environments import write_node_map

GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
BYTES = b"of an account that ends"
FORM = (
    b'--x\r\nContent-Disposition: form-data; name="%s"; filename="late.png"\r\n\r\n'
    + BYTES
    + b'\r\n--x\r\nContent-Disposition: form-data; name="file_path"\r\n\r\nlate.png'
    + b'\r\n--x\r\nContent-Disposition: form-data; name="content_type"\r\n\r\nimage/png'
    + b'\r\n--x\r\nContent-Disposition: form-data; name="tags"\r\n\r\ninput\r\n--x--\r\n'
)


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = start_fake_once(node_map_dir=write_node_map(tmp_path_factory.mktemp("map"))).wait_ready()
    yield stack
    log = (stack.data_dir / "server.log").read_text()
    assert "Traceback" not in log, log
    assert "unexpected error" not in log, log


class Person:
    """An account with a browser and a program."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack, self.name = stack, name
        self.browser, self.program = stack.visitor(name), stack.client(name)
        self.id = stack.write(accounts.by_name, name).id

    def leaves(self) -> None:
        assert self.browser.post("/account/delete", data={"name": self.name}).status_code == 303

    def is_erased(self) -> None:
        """As maintenance does it, as soon as that may be."""
        until(bool, lambda: self.stack.write(_may_be_erased, self.id))
        self.stack.write(accounts.erase, self.id)

    def ends(self) -> None:
        self.leaves()
        self.is_erased()

    def is_gone(self) -> None:
        assert self.stack.write(_rows_of, self.id) == {}


def _may_be_erased(conn: Connection, account_id: str) -> bool:
    """True also for one that maintenance has erased."""
    is_there = select(accounts_table.c.id).where(accounts_table.c.id == account_id)
    return account_id in accounts.retired(conn) or conn.execute(is_there).first() is None


def _states_of_imports(client: Client) -> list[str]:
    return [each["state"] for each in client.http.get("/api/v1/imports").json()]


def _rows_of(conn: Connection, account_id: str) -> dict[str, int]:
    """How many rows of each table an account has."""
    count = {
        name: conn.scalar(select(func.count()).select_from(table).where(table.c.account_id == account_id)) or 0
        for name, table in metadata.tables.items()
        if "account_id" in table.c
    }
    own = select(func.count()).select_from(accounts_table).where(accounts_table.c.id == account_id)
    return {name: number for name, number in {**count, "accounts": conn.scalar(own) or 0}.items() if number}


@pytest.fixture
def other(stack: Stack) -> Client:
    return stack.client("neighbour")


@contextlib.contextmanager
def half_sent(stack: Stack, client: Client, request: str, body: bytes, *headers: str) -> Iterator[socket.socket]:
    """A request of which the server has the headers, and half of the body."""
    fixed = ("Host: x", f"Authorization: Bearer {client.key}", f"Content-Length: {len(body)}", "Expect: 100-continue")
    head = "\r\n".join([f"{request} HTTP/1.1", *fixed, *headers, "", ""])
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as connected:
        connected.sendall(head.encode())
        assert connected.recv(len(GO_ON)) == GO_ON
        connected.sendall(body[: len(body) // 2])
        yield connected


def status_after(connected: socket.socket, rest: bytes) -> int:
    connected.sendall(rest)
    return int(connected.recv(65536).split()[1])


RAW = "Content-Type: application/octet-stream"
AS_FORM = "Content-Type: multipart/form-data; boundary=x"
JSON = "Content-Type: application/json"
WAYS: dict[str, tuple[bytes, str]] = {
    "POST /api/v1/files?path=/input/late": (BYTES, RAW),
    "POST /api/v1/files": (FORM % b"file", AS_FORM),
    "POST /api/v2/assets": (FORM % b"file", AS_FORM),
    "POST /comfy/upload/image": (FORM % b"image", AS_FORM),
    "POST /comfy/api/assets": (FORM % b"file", AS_FORM),
    "POST /comfy/userdata/late.json": (BYTES, RAW),
    "PUT /comfy/etn/upload/loras/late.safetensors": (BYTES, RAW),
    "PUT /api/v1/secrets/LATE": (b'{"value": "late", "hosts": ["example.com"]}', JSON),
    "POST /api/v1/workflows": (b'{"name": "late", "prompt": {"1": {"class_type": "FakeSave", "inputs": {}}}}', JSON),
    "POST /api/v1/workflows/default/runs": (
        b'{"prompt": {"1": {"class_type": "FakeSave", "inputs": {"text": "late"}}}}',
        JSON,
    ),
    "POST /comfy/prompt": (b'{"prompt": {"1": {"class_type": "FakeSave", "inputs": {"text": "late"}}}}', JSON),
    "POST /comfy/settings": (b'{"Comfy.Late": true}', JSON),
    "POST /api/v1/imports": (b'{"path": "/input/late", "url": "http://127.0.0.1:9/late"}', JSON),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_half_sent_comes_too_late(stack: Stack, other: Client, way: str) -> None:
    person, (body, header), (method, path) = Person(stack, f"sends {way}"[:60]), WAYS[way], way.split()
    name, value = header.split(": ")
    assert other.http.request(method, path, content=body, headers={name: value}).status_code < 300, "it is well formed"
    with half_sent(stack, person.program, way, body, header) as request:
        person.ends()
        status = status_after(request, body[len(body) // 2 :])

    assert 400 <= status < 500
    person.is_gone()
    assert other.run(fake_save())["status"] == "COMPLETED"


def test_an_upload_in_pieces_comes_too_late(stack: Stack, other: Client) -> None:
    person = Person(stack, "sends pieces")
    headers = {"Upload-Length": str(len(BYTES)), "Upload-Metadata": "path L2lucHV0L2xhdGU="}
    place = person.program.http.post("/api/v1/uploads", headers=headers).headers["location"]
    path = place[place.index("/api/") :]

    pieces = ("Upload-Offset: 0", "Content-Type: application/offset+octet-stream")
    with half_sent(stack, person.program, f"PATCH {path}", BYTES, *pieces) as request:
        person.ends()
        assert status_after(request, BYTES[len(BYTES) // 2 :]) == 409

    person.is_gone()
    assert other.http.post("/api/v1/files?path=/input/beside", content=BYTES).status_code == 201


def test_an_import_ends(stack: Stack, other: Client, site: Origin) -> None:
    person, go_on = Person(stack, "imports"), threading.Event()
    urls = [site.put(f"/{number}", BYTES, hold=go_on) for number in range(2)]
    for number, url in enumerate(urls):
        wanted = {"path": f"/input/{number}", "url": url}
        assert person.program.http.post("/api/v1/imports", json=wanted).status_code == 202
    assert {site.asked.get(timeout=60) for _ in urls} == {"/0", "/1"}

    person.ends()
    go_on.set()

    beside = {"path": "/input/beside", "url": site.put("/beside", BYTES)}
    assert other.http.post("/api/v1/imports", json=beside).status_code == 202
    until(lambda states: "waiting" not in states, lambda: _states_of_imports(other))
    person.is_gone()


def test_runs_and_webhooks_end_in_every_state(stack: Stack, other: Client, site: Origin, hook: Receiver) -> None:
    person, go_on = Person(stack, "runs"), threading.Event()
    hook.hold = threading.Event()
    held = site.put("/held", BYTES, hold=go_on)
    running = person.program.submit(fake_wait(3600), webhook=hook.url)
    person.program.wait_for(running, "status", state="running")
    assert running in hook.next().body.decode()  # its delivery waits for an answer
    person.program.submit(fake_save(), files={"/input/held": held})
    assert site.asked.get(timeout=60) == "/held"
    for number in range(5):
        person.program.submit(fake_save(f"{number}"), files={"/input/held": held})

    person.ends()
    go_on.set()
    hook.hold.set()

    beside = other.run(fake_save(), webhook=hook.url)
    assert beside["status"] == "COMPLETED"
    while beside["id"] not in hook.next().body.decode():
        continue
    person.is_gone()


def test_things_of_every_kind_end(stack: Stack, other: Client) -> None:
    """A run that goes on, deliveries that wait, an import, a piece of an upload, a request for packs, and all else."""
    person = Person(stack, "has everything")
    made(stack, person.program, person.browser)
    kinds = stack.write(_rows_of, person.id)

    person.ends()

    assert len(kinds) > 12, kinds
    person.is_gone()
    assert other.run(fake_save())["status"] == "COMPLETED"


def test_an_open_editor_ends(stack: Stack, other: Client) -> None:
    person = Person(stack, "has the editor open")
    workflow = person.program.http.get("/api/v1/workflows/default").json()["id"]
    frame = urlsplit(person.browser.get(f"/workflows/{workflow}/frame").json()["address"])
    url, editor = f"ws://{frame.netloc}{frame.path.rstrip('/')}/ws", Place(f"http://{frame.netloc}")
    with socket.create_connection(("127.0.0.1", stack.port)) as to, connect(url, origin=editor, sock=to) as opened:
        opened.recv(60)
        person.ends()

        with contextlib.suppress(ConnectionClosed):
            while True:
                opened.recv(60)
        assert opened.close_code == 4401

    person.is_gone()
    assert other.run(fake_save())["status"] == "COMPLETED"
