"""However many webhooks of an account meet silence, another account's arrive at once, and its own elsewhere too."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection

from comfyward.accounts.account import Account
from comfyward.delivery.webhooks import PER_ACCOUNT, PER_RECEIVER, Webhooks, WebhooksDue
from comfyward.files.guard import Guard
from comfyward.runs.run import Run
from comfyward.store import accounts, runs, webhooks
from comfyward.store.db import now_ms
from tests.fakes.http import Receiver, receiver
from tests.store.conftest import Store

AT_ONCE_S = 60
RETRY_S = 3600.0


@pytest.fixture(autouse=True)
def silent_hosts_are_given_up_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfyward.delivery.webhooks.TIMEOUT_S", 10.0 * AT_ONCE_S)


@pytest.fixture
def silent() -> Iterator[Callable[[int], str]]:
    """The URLs of hosts that take connections and never answer."""
    with socket.create_server(("0.0.0.0", 0), backlog=512) as taking:
        port = taking.getsockname()[1]
        yield lambda number: f"http://127.0.1.{1 + number}:{port}/hook"


def test_both_use_the_same_slow_receiver(store: Store) -> None:
    with receiver() as shared:
        shared.hold = threading.Event()
        for number in range(PER_RECEIVER * 4):
            _announce(store, store.alice, f"alice {number}", shared.url)
        _announce(store, store.bob, "bob", shared.url)

        assert "bob" in _first(store, shared, PER_RECEIVER + 1)
        shared.hold.set()


def test_one_receiver_of_an_account_is_silent(store: Store, silent: Callable[[int], str]) -> None:
    """The account's other receiver has places left."""
    for number in range(PER_ACCOUNT):
        _announce(store, store.alice, f"silent {number}", silent(0))
    with receiver() as healthy:
        _announce(store, store.alice, "healthy", healthy.url)

        assert _first(store, healthy, 1) == {"healthy"}


def test_several_accounts_use_a_hundred_silent_hosts(store: Store, silent: Callable[[int], str]) -> None:
    hostile = [store.write(accounts.create, f"hostile {number}", "member", None, now_ms()) for number in range(5)]
    for number in range(300):
        _announce(store, hostile[number % 5], f"hostile {number}", silent(number % 100))
    with receiver() as healthy:
        _announce(store, store.bob, "bob", healthy.url)

        assert _first(store, healthy, 1) == {"bob"}


def test_the_name_servers_of_an_account_are_silent(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    answered, resolve = threading.Event(), socket.getaddrinfo

    def resolve_slowly(host: str, *args: object, **how: object) -> object:
        if host.endswith(".silent.test"):
            answered.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return resolve("127.0.0.1" if host == "healthy.test" else host, *args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolve_slowly)
    for number in range(64):
        _announce(store, store.alice, f"alice {number}", f"http://{number}.silent.test/hook")
    with receiver() as healthy:
        _announce(store, store.bob, "bob", healthy.url.replace("127.0.0.1", "healthy.test"))
        try:
            assert _first(store, healthy, 1) == {"bob"}
        finally:
            answered.set()


def _announce(store: Store, account: Account, run_id: str, url: str) -> None:
    store.new_run(run_id, account, webhook=url)

    def add(conn: Connection) -> None:
        run = runs.get_any(conn, run_id)
        assert run is not None
        webhooks.add(conn, run, "run.started", now_ms())

    store.write(add)


def _first(store: Store, arriving: Receiver, count: int) -> set[str]:
    """The runs of the first webhooks that arrive at a receiver, each at once."""

    def render(run: Run) -> bytes:
        return json.dumps(run.id).encode()

    threads = ThreadPoolExecutor(1)  # the loop's own may be waiting for name servers

    async def received() -> set[str]:
        loop = Webhooks(store.db, WebhooksDue(store.db.notices), Guard.allowing(["127.0.0.0/8"]), render, RETRY_S)
        loop.start()
        try:
            requests = [
                await asyncio.get_running_loop().run_in_executor(threads, arriving.next, AT_ONCE_S)
                for _ in range(count)
            ]
            return {json.loads(each.body) for each in requests}
        finally:
            await loop.stop()

    return asyncio.run(received())
