"""Every spelling of an address that is not public, and names that turn out to be private."""

import ipaddress
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

# The first, a middle and the last address of every network in IANA's special-purpose registries that no host of the
# internet has, read from iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry.
REGISTERED = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.0.0/29", "192.0.0.8/32", "192.0.0.9/32", "192.0.0.10/32", "192.0.0.170/31", "192.0.2.0/24"),
    *("192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
    *("198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "255.255.255.255/32", "224.0.0.0/4"),
    *("::1/128", "::/128", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001::/32", "2001:1::1/128"),
    *("2001:1::2/128", "2001:1::3/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48", "2001:10::/28"),
    *("2001:20::/28", "2001:30::/28", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "5f00::/16"),
    *("fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "::/96"),
]
# Where clouds answer their own machines.
METADATA = [
    *("169.254.169.254", "169.254.170.2", "169.254.0.23", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fe80::a9fe:a9fe"),
]
PUBLIC_IPV4_BESIDE_THEM = ["168.63.129.15", "168.63.129.17", "192.0.1.1", "192.88.98.1", "100.128.0.1", "11.0.0.1"]


@pytest.mark.parametrize("network", REGISTERED)
def test_no_address_of_a_special_purpose_network_is_permitted(network: str) -> None:
    addresses = ipaddress.ip_network(network)
    for index in {0, addresses.num_addresses // 2, addresses.num_addresses - 1}:
        assert not Guard().permits(str(addresses[index])), addresses[index]


@pytest.mark.parametrize("address", METADATA)
def test_metadata_services_of_clouds_are_not_permitted(address: str) -> None:
    assert not Guard().permits(address)


@pytest.mark.parametrize("inner", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "168.63.129.16", "192.0.0.192"])
def test_an_address_is_refused_inside_another_one_too(inner: str) -> None:
    number = int(ipaddress.IPv4Address(inner))
    high, low = number >> 16, number & 0xFFFF
    embedded = [
        *(f"::ffff:{inner}", f"::ffff:0:{inner}", f"::{inner}", f"64:ff9b::{inner}", f"64:ff9b:1::{inner}"),
        f"64:ff9b:1:{high:x}:{low >> 8:x}:{(low & 0xFF) << 8:x}::",
        *(f"2002:{high:x}:{low:x}::1", f"2002:808:808::{inner}"),
        f"2001:0:808:808:0:0:{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}",  # Teredo's client
        f"2001:0:{high:x}:{low:x}::f7f7:f7f7",  # Teredo's server
        *(f"2606:4700::5efe:{inner}", f"2606:4700::200:5efe:{inner}"),  # ISATAP
    ]
    for address in embedded:
        assert not Guard().permits(address), address


@pytest.mark.parametrize("address", PUBLIC_IPV4_BESIDE_THEM)
def test_public_addresses_beside_special_ones_are_permitted(address: str) -> None:
    assert Guard().permits(address)
    assert Guard().permits(f"64:ff9b::{address}")  # what DNS64 gives an IPv6-only host


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_permitted(address: str) -> None:
    assert not Guard().permits(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_permitted(address: str) -> None:
    assert Guard().permits(address)


SPELLINGS = [
    *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "017700000001", "0x7f.1", "0"),
    *("localhost", "LOCALHOST.", "a.localhost", "169.254.169.254"),
    *(
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
    ),
    *(
        "[fec0::1]",
        "[fe80::a9fe:a9fe]",
        "[fd00:ec2::254]",
        "[2002:7f00:1::]",
        "[3fff::1]",
        "[fe80::1%25lo]",
        "0177.0.0.1",
    ),
    *(
        "\uff11\uff12\uff17.0.0.1",
        "127\u30020\u30020\u30021",
        "%31%32%37.0.0.1",
        "\u24db\u24de\u24d2alhost",
        "user@127.1",
    ),
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
    assert guard.permits("::ffff:10.1.2.3")
    assert not guard.permits("::ffff:10.2.0.1")
    assert guard.permits("::1")
    guard.check_url("http://10.1.2.3/x", "The URL")
    with pytest.raises(FetchFailed):  # reached, not refused: nobody listens there
        Guard.allowing(["localhost"]).connect("localhost", 1, 1)


def test_a_webhooks_socket_is_guarded_too() -> None:
    open_socket = Guard().socket_factory("example.com")
    with pytest.raises(FetchRefused):
        open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))
