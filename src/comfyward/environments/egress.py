"""The hosts that the ComfyUI of an environment may reach: `egress` of a spec. Without any, there is no network.

egress = ["api.openai.com", "*.example.com", "models.internal:8443"]

Without a port, those of http and https are meant. An entry with `*.` stands for every name below a domain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address

from comfyward.errors import InvalidEnvironment

MOST = 100
OWN_PORTS = frozenset({80, 443})
_ENTRY = re.compile(
    r"(?P<host>\[[0-9a-f:.]{2,45}\]|(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?)"
    r"(?::(?P<port>\d{1,5}))?"
)


def parse_egress(entries: object) -> tuple[str, ...]:
    """The entries, sorted. Raises InvalidEnvironment."""
    if not isinstance(entries, list) or not all(isinstance(each, str) for each in entries):
        raise InvalidEnvironment("'egress' must be a list of hosts.")
    if len(entries) > MOST:
        raise InvalidEnvironment(f"'egress' has more than {MOST} hosts.")
    return tuple(sorted(set(map(_entry, entries))))


def permits(entries: Iterable[str], host: str, port: int) -> bool:
    """True if an entry stands for this host and port."""
    host = host.lower().strip("[]").rstrip(".")
    return any(_stands_for(entry, host, port) for entry in entries)


def _entry(text: str) -> str:
    found = _ENTRY.fullmatch(text.lower())
    if found is None or ".." in text or (found["port"] and not 0 < int(found["port"]) < 1 << 16):
        hint = "An entry is a host's name, such as api.example.com, *.example.com, or host:8443."
        raise InvalidEnvironment(f"'{text[:80]}' in 'egress' is not a host.", hint=hint)
    if found["host"].startswith("["):
        try:
            ip_address(found["host"].strip("[]"))
        except ValueError as error:
            raise InvalidEnvironment(f"'{text[:80]}' in 'egress' is not an address.") from error
    return text.lower()


def _stands_for(entry: str, host: str, port: int) -> bool:
    found = _ENTRY.fullmatch(entry)
    if found is None or port not in ({int(found["port"])} if found["port"] else OWN_PORTS):
        return False
    named = found["host"].strip("[]")
    return host.endswith(named[1:]) if named.startswith("*.") else host == named
