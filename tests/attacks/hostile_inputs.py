"""A generator of hostile requests: the same seed gives the same requests, and a larger count more of them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

STRINGS = (
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\r\nX-Injected: 1",
        "\n",
        "..",
        "../../etc/passwd",
        "..\\..\\win.ini",
        "C:\\x",
        "//x",
        "/",
    ),
    *("%00", "%2e%2e%2f", "%c0%ae", "\ud800", "\U0001f600" * 50, "é" * 300, "a" * 5000, "null", "undefined", "NaN"),
    *(
        "1e308",
        "-1",
        "0",
        "9" * 5000,
        "1_000",
        "\u0661",
        "0x10",
        "true",
        "[]",
        "{}",
        "'; DROP TABLE runs; --",
        "<script>",
    ),
    *(
        "{{7*7}}",
        "${jndi:ldap://x}",
        "\u202egnp.exe",
        "\ufeff",
        "\u2028",
        "\x7f",
        "\x1b[31m",
        "a:b@c",
        "http://[::1",
        "file:///x",
    ),
)
NUMBERS = (0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400, 0.1, -0.0, 1e308, 1e-320, 1.5)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"": None}, [{}] * 100)
RAW_BODIES = (
    *(b"", b"{", b"[", b"nul", b'"', b"\xff\xfe", b"\xef\xbb\xbf{}", b"NaN", b"Infinity", b"-Infinity", b'{"a":1e999}'),
    *(b"[" * 50_000, b'{"a":' * 20_000, b"[" * 20_000 + b"]" * 20_000, b'"\\ud800"', b'{"a":1,"a":2}', b"1" * 10_000),
    *(b'{"prompt":' + b"[" * 5000 + b"]" * 5000 + b"}", b"a=1&a=2&" * 2000, b"--x\r\n\r\n--x--", b"\0" * 1000),
)
HEADERS = (
    *(("Range", "bytes=" + "9" * 5000 + "-"), ("Range", "bytes=-"), ("Range", "bytes=5-2"), ("Range", "lines=1-2")),
    *(("Range", "bytes=0-1,2-3"), ("If-None-Match", "W/" * 500), ("If-Range", '"x'), ("Idempotency-Key", "k" * 5000)),
    *(
        ("Idempotency-Key", "\x80\xff"),
        ("Content-Type", "application/json; charset=utf-7"),
        ("Content-Type", "\xe9/\xff"),
    ),
    *(("Content-Type", "multipart/form-data"), ("Content-Type", "multipart/form-data; boundary=" + "b" * 300)),
    *(
        ("Content-Type", "text/plain"),
        ("Content-Encoding", "gzip"),
        ("Accept", "\xff"),
        ("Accept-Language", "x" * 3000),
    ),
    *(("Last-Event-ID", "9" * 400), ("Last-Event-ID", "-1"), ("Host", "evil.example"), ("X-Forwarded-For", "x" * 500)),
    *(("Cookie", "a=b; " * 200), ("Origin", "null"), ("Upload-Offset", "-1"), ("Upload-Length", "9" * 30)),
    *(
        ("Upload-Metadata", "name ===="),
        ("Upload-Metadata", "path \xe9"),
        ("Tus-Resumable", "9"),
        ("Prefer", "wait=1e9"),
        ("Referer", "\\\\x"),
    ),
)
FIELDS = (
    *("prompt", "workflow", "files", "accelerator", "priority", "webhook", "timeout", "start_within", "tags", "labels"),
    *(
        "extra_data",
        "client_id",
        "prompt_id",
        "name",
        "path",
        "url",
        "size",
        "limit",
        "cursor",
        "status",
        "before",
        "after",
    ),
    *(
        "digest",
        "headers",
        "inputs",
        "values",
        "metadata",
        "delete",
        "clear",
        "id",
        "ids",
        "filename",
        "subfolder",
        "type",
    ),
)
HEADER_SHARE, RAW_BODY_SHARE, QUERY_SHARE, OWN_ID_SHARE, VALID_SHARE = 0.4, 0.25, 0.5, 0.5, 0.6
NONE_VALID: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Request:
    """One request as bytes go out: the target is escaped, header values are latin-1."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class HostileInputs:
    """Requests to routes, each a method and a path with `{parameters}`. `ids` are values that exist, by parameter.

    `valid` are bodies that are taken, by path: most requests there have one in which one thing is changed.
    """

    def __init__(
        self,
        routes: Sequence[tuple[str, str]],
        ids: Mapping[str, str],
        seed: int,
        valid: Mapping[str, Any] = NONE_VALID,
    ) -> None:
        self._routes, self._ids, self._valid, self._chance = routes, ids, valid, random.Random(seed)

    def requests(self, count: int) -> Iterator[Request]:
        """Each route in turn, so that all have their share."""
        for number in range(count):
            method, path = self._routes[number % len(self._routes)]
            yield Request(method, self._target(path), self._headers(), self._body(method, path))

    def _target(self, path: str) -> str:
        filled = re.sub(r"\{(\w+)(:\w+)?\}", lambda found: self._parameter(found[1]), path)
        if self._chance.random() >= QUERY_SHARE:
            return filled
        pairs = [(self._chance.choice(FIELDS), self._text()) for _ in range(self._chance.randint(1, 3))]
        return f"{filled}?{urlencode(pairs, errors='surrogatepass')}"

    def _parameter(self, name: str) -> str:
        if name in self._ids and self._chance.random() < OWN_ID_SHARE:
            return self._ids[name]
        return quote(self._text(), safe="", errors="surrogatepass") or "-"

    def _text(self) -> str:
        return self._chance.choice(STRINGS)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": self._chance.choice(("application/json", "application/x-www-form-urlencoded"))}
        if self._chance.random() < HEADER_SHARE:
            name, value = self._chance.choice(HEADERS)
            headers[name] = value
        return headers

    def _body(self, method: str, path: str) -> bytes:
        if method in ("GET", "HEAD"):
            return b""
        if path in self._valid and self._chance.random() < VALID_SHARE:
            return self.changed(self._valid[path])
        if self._chance.random() < RAW_BODY_SHARE:
            return self._chance.choice(RAW_BODIES)
        return json.dumps(self._object(depth=0)).encode("utf-8", "surrogatepass")

    def changed(self, valid: Any) -> bytes:
        """A value as JSON, in which one part is another value, is missing, or has something beside it."""
        value = json.loads(json.dumps(valid))
        within, key = self._chance.choice(list(_places(value)))
        match self._chance.randrange(8), within:
            case 0, _:
                del within[key]
            case 1, dict():
                within[self._chance.choice((*FIELDS, *STRINGS))] = self._value(0)
            case _:
                within[key] = self._value(0)
        return json.dumps(value).encode("utf-8", "surrogatepass")

    def _object(self, depth: int) -> dict[str, Any]:
        fields = self._chance.sample(FIELDS, self._chance.randint(1, 6))
        return {field: self._value(depth) for field in fields}

    def _value(self, depth: int) -> Any:
        match self._chance.randrange(5):
            case 0:
                return self._text()
            case 1:
                return self._chance.choice(NUMBERS)
            case 2 if depth < 3:
                return self._object(depth + 1)
            case 3 if depth < 3:
                return [self._value(depth + 1) for _ in range(self._chance.randint(1, 4))]
            case _:
                return self._chance.choice(OTHERS)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(the object or list, the key or index) of each part of a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield value, key
        yield from _places(each)
