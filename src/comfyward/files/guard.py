"""The guard against requests to addresses that only this machine or its network can reach (SSRF).

It decides at the socket: whatever a URL, a redirect or a name server says, a connection is opened only to an address
that is public or that the operator has allowed. Downloads and webhooks share this rule.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from comfyward.errors import FetchFailed, FetchRefused, InvalidUrl
from comfyward.runs.address import parse_address

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))  # RFC 6052, RFC 8215


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
        if any(ip in network for network in self.networks if network.version == ip.version):
            return True
        return ip.is_global and not ip.is_multicast and not ip.is_reserved

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
        """A connected socket. Raises FetchRefused if no address of the host is permitted, else FetchFailed."""
        refused: str | None = None
        failure: OSError | None = None
        for family, kind, protocol, _, target in self._resolve(host, port):
            if not self._allows_host(host) and not self.permits(str(target[0])):
                refused = str(target[0])
                continue
            try:
                return _open(family, kind, protocol, target, timeout_s)
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
    """The address that a packet finally reaches: IPv4 embedded in mapped, 6to4, Teredo or NAT64 IPv6 is unwrapped."""
    if isinstance(ip, ipaddress.IPv4Address) or ip.is_loopback or ip.is_unspecified:
        return ip
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip.sixtofour is not None:
        return ip.sixtofour
    if ip.teredo is not None:
        return ip.teredo[1]
    if any(ip in network for network in _NAT64) or int(ip) < 1 << 32:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


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
