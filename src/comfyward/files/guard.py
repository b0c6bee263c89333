"""The guard against requests to addresses that only this machine or its network can reach (SSRF).

It decides at the socket: whatever a URL, a redirect or a name server says, a connection is opened only to an address
that is public or that the operator has allowed. Downloads and webhooks share this rule.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from comfyward.errors import FetchFailed, FetchRefused, InvalidUrl
from comfyward.runs.address import parse_address

SHORTEST_WAIT_S = 0.001

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the one prefix in which the address stands at the end
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that IANA has given out

# IANA's special-purpose registries, multicast, and addresses of clouds that answer their own machines only. Python has
# a table too, but it allows some of these, and differs between versions.
_SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
            *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
            "168.63.129.16/32",  # Azure's own services for a virtual machine
            "2001::/23",  # of protocols: Teredo, benchmarks, AMT, AS112, ORCHID, drones
            "2001:db8::/32",
            "2002::/16",  # 6to4, which may lead to any IPv4 address
            *("2620:4f:8000::/48", "3fff::/20"),
        ),
    )
)
_ISATAP = 0x5EFE  # RFC 5214: an IPv4 address in the last half of any IPv6 address


@dataclass(frozen=True)
class Guard:
    """The addresses that may be connected to: public ones, and the private networks and hosts that are allowed."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def allowing(cls, allow: Iterable[str]) -> Guard:
        """A guard from addresses, CIDR networks and host names (`COMFYWARD_FETCH_ALLOW`)."""
        networks: list[Network] = []
        hosts: set[str] = set()
        for entry in allow:
            try:
                networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                hosts.add(entry.lower().rstrip("."))
        return cls(tuple(networks), frozenset(hosts))

    def permits(self, address: str) -> bool:
        """True if a literal address may be connected to."""
        ip = innermost(ipaddress.ip_address(address.partition("%")[0]))
        return _is_in(ip, self.networks) or _is_public(ip)

    def check_url(self, url: str, what: str) -> None:
        """Raises InvalidUrl for another scheme or a literal private address, naming the URL `what`.

        No name server is asked: a name with a private address is refused when it is connected to.
        """
        try:
            host = urlsplit(parse_address(url).url).hostname or ""
        except ValueError as error:
            raise InvalidUrl(f"{what} cannot be used: {error}.") from error
        address = _literal(host)
        if address is not None and not self._allows_host(host) and not self.permits(address):
            raise InvalidUrl(f"{what} points to {address}, which is private or reserved.", hint=FetchRefused.hint)

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """A connected socket. All addresses of the host share the time.

        Raises FetchRefused if none of them is permitted, else FetchFailed.
        """
        refused: str | None = None
        failure: OSError | None = None
        ends_at = time.monotonic() + timeout_s
        found = self._resolve(host, port)
        for index, (family, kind, protocol, _, target) in enumerate(found):
            if not self._allows_host(host) and not self.permits(str(target[0])):
                refused = str(target[0])
                continue
            try:
                share_s = (ends_at - time.monotonic()) / (len(found) - index)
                return _open(family, kind, protocol, target, max(SHORTEST_WAIT_S, share_s))
            except OSError as error:
                failure = error
        if failure is None and refused is not None:
            raise FetchRefused(f"The address of '{host}' ({refused}) is private or reserved.", host=host)
        raise FetchFailed(f"Cannot connect to '{host}': {failure or 'no address'}.", host=host)

    def socket_factory(self, host: str) -> Any:
        """A socket factory for aiohttp's connector, for requests to one host without redirects."""

        def open_socket(info: tuple[Any, ...]) -> socket.socket:
            family, kind, protocol, _, target = info
            if not self._allows_host(host) and not self.permits(str(target[0])):
                raise FetchRefused(f"The address of '{host}' ({target[0]}) is private or reserved.", host=host)
            return socket.socket(family, kind, protocol)

        return open_socket

    def _allows_host(self, host: str) -> bool:
        return host.lower().rstrip(".") in self.hosts

    def _resolve(self, host: str, port: int) -> list[tuple[Any, ...]]:
        try:
            return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            raise FetchFailed(f"The host '{host}' cannot be found.", host=host) from error


def innermost(ip: Address) -> Address:
    """The address that a packet finally reaches: IPv4 embedded in mapped or NAT64 IPv6 is unwrapped."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def _is_public(ip: Address) -> bool:
    """True for an address that any host of the internet may have."""
    if isinstance(ip, ipaddress.IPv6Address) and (ip not in _GLOBAL_UNICAST or _is_isatap(ip)):
        return False
    return not _is_in(ip, _SPECIAL) and ip.is_global and not ip.is_multicast and not ip.is_reserved


def _is_isatap(ip: ipaddress.IPv6Address) -> bool:
    return (int(ip) >> 32) & 0xFDFFFFFF == _ISATAP  # but for the bit that says whether the address is unique


def _is_in(ip: Address, networks: Iterable[Network]) -> bool:
    return any(ip in network for network in networks if network.version == ip.version)


def _literal(host: str) -> str | None:
    """The address that a host spells in any form (0x7f.1, 2130706433, 017700000001, localhost), or None for a name."""
    if host.lower().rstrip(".") == "localhost" or host.lower().endswith(".localhost"):
        return "127.0.0.1"
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return str(found[0][4][0]) if found else None


def _open(family: int, kind: int, protocol: int, target: Any, timeout_s: float) -> socket.socket:
    opened = socket.socket(family, kind, protocol)
    try:
        opened.settimeout(timeout_s)
        opened.connect(target)
    except OSError:
        opened.close()
        raise
    return opened
