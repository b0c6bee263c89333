"""Every spelling of an address that is not public, and names that turn out to be private."""

import socket

import pytest

from comfyward.errors import FetchFailed, FetchRefused, InvalidUrl
from comfyward.files.guard import Guard

PRIVATE = [
    "127.0.0.1",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "::127.0.0.1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_permitted(address: str) -> None:
    assert not Guard().permits(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_permitted(address: str) -> None:
    assert Guard().permits(address)


SPELLINGS = [
    *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "017700000001", "0x7f.1", "0"),
    *("localhost", "LOCALHOST.", "a.localhost", "169.254.169.254"),
    *("[::1]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]"),
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_every_spelling_is_refused_before_a_run_is_queued(host: str) -> None:
    with pytest.raises(InvalidUrl):
        Guard().check_url(f"http://{host}/x", "The URL")


def test_a_name_that_resolves_to_a_private_address_is_refused_when_it_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter([("93.184.216.34", 80), ("127.0.0.1", 80)])  # first public, then private: rebinding

    def resolve(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", next(answers))]

    guard = Guard()
    guard.check_url("http://rebind.example/", "The URL")
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    next(answers)
    with pytest.raises(FetchRefused, match="private"):
        guard.connect("rebind.example", 80, 1)


def test_what_an_operator_allows_is_permitted() -> None:
    guard = Guard.allowing(["10.1.0.0/16", "::1", "mirror.internal"])

    assert guard.permits("10.1.2.3")
    assert not guard.permits("10.2.0.1")
    assert guard.permits("::1")
    guard.check_url("http://10.1.2.3/x", "The URL")
    with pytest.raises(FetchFailed):  # reached, not refused: nobody listens there
        Guard.allowing(["localhost"]).connect("localhost", 1, 1)


def test_a_webhooks_socket_is_guarded_too() -> None:
    open_socket = Guard().socket_factory("example.com")
    with pytest.raises(FetchRefused):
        open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))
