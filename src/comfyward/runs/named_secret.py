"""Named secrets: tokens of an account, or of the installation, for the hosts that they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from comfyward.errors import InvalidRequest
from comfyward.runs.address import OWN_PORTS, parse_address

MAX_VALUE, MAX_HOSTS, MAX_PATTERN = 4096, 20, 300
AUTHORIZATION = "Authorization"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_SET_BY_US = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "range", "accept-encoding", "cookie", "user-agent")
)
_PATTERN = re.compile(r"(?:(https?)://)?(\*\.)?([^/?#@*\s]+)/?", re.IGNORECASE)


@dataclass(frozen=True)
class HostPattern:
    """One host, or with `is_wild` all hosts below it, of one scheme and port: https unless it says http."""

    scheme: str
    host: str
    port: int
    is_wild: bool

    @classmethod
    def parse(cls, text: str) -> HostPattern:
        """`example.com`, `*.example.com`, `example.com:8443` or `http://10.0.0.5:8080`. Raises InvalidRequest."""
        match = _PATTERN.fullmatch(text.strip()) if len(text) <= MAX_PATTERN else None
        scheme = (match[1] or "https").lower() if match else ""
        try:
            parts = urlsplit(parse_address(f"{scheme}://{match[3]}/").url if match else "")
            host = (parts.hostname or "").rstrip(".")
            port = OWN_PORTS.get(scheme, 0) if parts.port is None else parts.port
        except ValueError:
            host, port = "", 0
        if match is None or not host or not port:
            raise InvalidRequest(f"'{text[:100]}' is not a host.", hint="Such as example.com, or *.example.com.")
        is_wild = match[2] is not None
        if is_wild and (host.count(".") < 1 or _is_number(host)):
            raise InvalidRequest(f"'{text[:100]}' would match hosts of anybody.", hint="Name a domain of its owner.")
        return cls(scheme, host, port, is_wild)

    def matches(self, url: str) -> bool:
        """True if a URL leads to this host, with this scheme and port."""
        try:
            parts = urlsplit(url)
            port = parts.port or OWN_PORTS.get(parts.scheme)
        except ValueError:
            return False
        host = (parts.hostname or "").rstrip(".")
        is_meant = host.endswith(f".{self.host}") if self.is_wild else host == self.host
        return is_meant and (parts.scheme, port) == (self.scheme, self.port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == OWN_PORTS[self.scheme] else f":{self.port}"
        scheme = "" if self.scheme == "https" else f"{self.scheme}://"
        return f"{scheme}{'*.' if self.is_wild else ''}{host}{port}"


@dataclass(frozen=True)
class NamedSecret:
    """A secret without its value. `account_id` is "" for one that an admin shares with all accounts.

    `encrypted` is the value as only the server can read it, with the key of `key_id`; it goes to `hosts` as `header`.
    """

    account_id: str
    name: str
    hosts: tuple[HostPattern, ...]
    header: str
    key_id: str
    encrypted: str
    created_at: int
    used_at: int | None

    @property
    def is_shared(self) -> bool:
        return not self.account_id

    def matches(self, url: str) -> bool:
        """True if its value may be sent to a URL."""
        return any(pattern.matches(url) for pattern in self.hosts)


def checked_name(text: str) -> str:
    """Raises InvalidRequest."""
    if not _NAME.fullmatch(text):
        hint = "Letters, digits, _, . and -, such as HF_TOKEN; at most 64, and a letter first."
        raise InvalidRequest("This is not a name of a secret.", hint=hint)
    return text


def checked_value(text: str) -> str:
    """A value without the blanks around it. Raises InvalidRequest, which never repeats it."""
    value = text.strip()
    if not value or len(value) > MAX_VALUE or not (value.isascii() and value.isprintable()):
        raise InvalidRequest(f"The value must be 1 to {MAX_VALUE} printable ASCII characters on one line.")
    return value


def checked_header(text: str) -> str:
    """Raises InvalidRequest."""
    if not _HEADER.fullmatch(text) or text.lower() in _SET_BY_US:
        raise InvalidRequest(f"'{text[:64]}' cannot be the header of a secret.", hint="Such as Authorization.")
    return text


def checked_hosts(texts: Sequence[str]) -> tuple[HostPattern, ...]:
    """Raises InvalidRequest."""
    if not 1 <= len(texts) <= MAX_HOSTS:
        hint = "Such as example.com or *.example.org, in 'hosts'; HF_TOKEN and CIVITAI_TOKEN have hosts of their own."
        raise InvalidRequest(f"A secret needs 1 to {MAX_HOSTS} hosts to which it may be sent.", hint=hint)
    return tuple(dict.fromkeys(HostPattern.parse(text) for text in texts))


def best_for(url: str, secrets: Iterable[NamedSecret]) -> NamedSecret | None:
    """The secret to send to a URL: an account's own before a shared one, an exact host before a pattern, the newest."""
    fitting = [each for each in secrets if each.matches(url)]
    return max(fitting, key=lambda each: (not each.is_shared, _is_exact(each, url), each.created_at), default=None)


def header_of(secret: NamedSecret, value: str) -> tuple[str, str]:
    """The header that carries a value. A bare token for Authorization is a bearer's."""
    if secret.header.lower() == AUTHORIZATION.lower() and " " not in value:
        return secret.header, f"Bearer {value}"
    return secret.header, value


def _is_exact(secret: NamedSecret, url: str) -> bool:
    return any(pattern.matches(url) and not pattern.is_wild for pattern in secret.hosts)


def _is_number(host: str) -> bool:
    return ":" in host or host.rpartition(".")[2].isdigit()
