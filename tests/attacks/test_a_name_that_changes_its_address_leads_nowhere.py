"""A name server says another address at each look-up: between a check and a connection, between two parts of a file,
between two tries, and behind a redirect. No connection is ever opened to an address that is not allowed."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx2
import pytest

from tests.attacks.changing_names import ChangingNames
from tests.conftest import FakeSettings
from tests.fakes.http import Origin, origin, receiver
from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack
from tests.stack.waiting import until

ALLOWED, HIDDEN = "127.0.0.2", "127.0.0.3"
DATA = bytes(range(256)) * 400
REFUSED = "is private or reserved"


@dataclass(frozen=True)
class Place:
    """A server that may reach ALLOWED alone, and a program on HIDDEN that must not be reached."""

    stack: Stack
    names: ChangingNames
    site: Origin
    hidden: socket.socket

    @property
    def port(self) -> int:
        return _port(self.site.url)

    def url(self, name: str, path: str) -> str:
        return f"http://{name}:{self.port}{path}"

    def was_reached(self) -> bool:
        """True if anybody has connected to the hidden program."""
        try:
            self.hidden.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, fake_settings: FakeSettings) -> Iterator[Place]:
    names = ChangingNames.below(tmp_path_factory.mktemp("names"))
    settings = fake_settings(fetch_allow=ALLOWED)
    stack = Stack(
        tmp_path_factory.mktemp("rebound") / "server", settings, names.environment, program=("-m", "comfyward")
    )
    with origin(ALLOWED) as site, socket.socket() as hidden:
        hidden.bind((HIDDEN, _port(site.url)))
        hidden.listen()
        hidden.setblocking(False)
        try:
            yield Place(stack.start().wait_ready(), names, site, hidden)
        finally:
            stack.close()


def by_a_run(client: Client, url: str) -> str:
    return json.dumps(client.run(fake_save(), files={"/input/file": url}))


def by_a_model(client: Client, url: str) -> str:
    return json.dumps(client.run(fake_save(), files={"/models/loras/file.safetensors": url}))


def by_an_import(client: Client, url: str) -> str:
    """Nothing if it is done: imports that are waiting or failed are listed."""
    job = client.http.post("/api/v1/imports", json={"path": "/input/file", "url": url}).json()["id"]

    def told() -> str:
        found = [each for each in client.http.get("/api/v1/imports").json() if each["id"] == job]
        return json.dumps(found)

    return until(lambda shown: '"waiting"' not in shown, told)


Way = Callable[[Client, str], str]
WAYS: list[Way] = [by_a_run, by_a_model, by_an_import]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_address_changes_between_two_parts_of_a_file(place: Place, way: Way) -> None:
    path, name = f"/parts-{way.__name__}", f"parts-{way.__name__}.test".replace("_", "-")
    place.site.put(path, DATA, break_after=len(DATA) // 2, breaks=1)
    place.names.say(name, [ALLOWED], [HIDDEN])

    told = way(place.stack.client(name), place.url(name, path))

    assert REFUSED in told
    assert f"The address of '{name}' ({HIDDEN})" in told
    assert place.site.requests_to(path)
    assert not place.was_reached()


@pytest.mark.parametrize("address", [HIDDEN, f"::ffff:{HIDDEN}", "::1"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_redirect_leads_to_a_name_with_another_address(place: Place, way: Way, address: str) -> None:
    path = f"/moved-{way.__name__}-{address.count(':')}-{len(address)}"
    name = f"{path[1:]}.test".replace("_", "-")
    place.names.say("site.test", [ALLOWED])
    place.names.say(name, [address])
    place.site.put(path, b"", status=302, headers={"Location": place.url(name, path)})

    told = way(place.stack.client(name), place.url("site.test", path))

    assert f"The address of '{name}' ({address}) {REFUSED}" in told
    assert place.names.asked(name)
    assert not place.was_reached()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_of_two_addresses_the_allowed_one_is_used(place: Place, way: Way) -> None:
    path, name = f"/both-{way.__name__}", f"both-{way.__name__}.test".replace("_", "-")
    place.site.put(path, DATA)
    place.names.say(name, [HIDDEN, ALLOWED])

    told = way(place.stack.client(name), place.url(name, path))

    assert REFUSED not in told
    assert place.site.requests_to(path)
    assert not place.was_reached()


def test_a_webhook_is_sent_again_to_another_address(place: Place) -> None:
    client = place.stack.client("hooked")
    place.names.say("hook.test", [ALLOWED])
    with receiver(host=ALLOWED) as hook, socket.create_server((HIDDEN, port := _port(hook.url))) as hidden:
        run = client.run(fake_save(), webhook=f"http://hook.test:{port}/hook")

        def deliveries() -> dict[str, dict[str, str]]:
            found = client.http.get("/api/v1/webhooks/deliveries", params={"run": run["id"]}).json()
            return {each["event"]: each for each in found}

        # All of them: one that is on its way would look up a name that says something else by then.
        delivered = until(lambda found: all(each["state"] == "delivered" for each in found.values()), deliveries)
        place.names.say("hook.test", [HIDDEN])
        started = delivered["run.started"]["id"]
        assert client.http.post(f"/api/v1/webhooks/deliveries/{started}/resend").status_code < 300

        until(lambda found: REFUSED in (found["run.started"]["last_answer"] or ""), deliveries)
        hidden.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has connected
            hidden.accept()


def _port(url: str) -> int:
    return httpx2.URL(url).port or 0
