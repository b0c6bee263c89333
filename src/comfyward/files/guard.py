"""The guard against requests to places that only this machine or its network can reach (SSRF).

It decides at the socket: whatever a URL, a redirect or a name server says, a connection is opened only to an address
that is public or that the operator allowed. One rule for downloads and for webhooks.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from comfyward.errors import FetchFailed, FetchRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))  # RFC 6052, RFC 8215


@dataclass(frozen=True)
class Guard:
    """Says which addresses may be connected to. `allow` holds what an operator permits although it is private."""

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
        """Whether a literal address may be connected to."""
        ip = innermost(ipaddress.ip_address(address.partition("%")[0]))
        if any(ip in network for network in self.networks if network.version == ip.version):
            return True
        return ip.is_global and not ip.is_multicast and not ip.is_reserved

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """A connected socket. Raises FetchRefused when no address of the host is permitted, else FetchFailed."""
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

    def open_for(self, host: str) -> Any:
        """A socket factory for aiohttp's connector, for requests to one host that are never redirected."""

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
    """The address that a packet finally reaches: IPv4 inside mapped, 6to4, Teredo or NAT64 IPv6 is unwrapped."""
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


def _open(family: int, kind: int, protocol: int, target: Any, timeout_s: float) -> socket.socket:
    opened = socket.socket(family, kind, protocol)
    try:
        opened.settimeout(timeout_s)
        opened.connect(target)
    except OSError:
        opened.close()
        raise
    return opened
