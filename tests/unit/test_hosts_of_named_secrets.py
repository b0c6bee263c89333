"""A secret is for its hosts alone: their scheme and port count, and a pattern never covers hosts of anybody."""

from __future__ import annotations

import pytest

from comfyward.errors import InvalidRequest
from comfyward.runs.named_secret import (
    HostPattern,
    NamedSecret,
    best_for,
    checked_header,
    checked_hosts,
    checked_name,
    checked_value,
    header_of,
)

MATCHES = {
    "example.com": ("https://example.com/a", "https://example.com:443/a", "https://example.com./a?b#c"),
    "EXAMPLE.com": ("https://example.com/a",),
    "bücher.example": ("https://xn--bcher-kva.example/a",),
    "*.example.com": ("https://a.example.com/", "https://a.b.example.com/"),
    "example.com:8443": ("https://example.com:8443/",),
    "http://10.0.0.5:8080": ("http://10.0.0.5:8080/x",),
    "http://example.com": ("http://example.com/", "http://example.com:80/"),
    "[2001:db8::1]:8443": ("https://[2001:db8::1]:8443/",),
}
NO_MATCH = {
    "example.com": (
        "http://example.com/a",
        "https://example.com:8443/a",
        "https://a.example.com/",
        "https://notexample.com/",
        "https://example.com.evil.example/",
        "https://evil.example/example.com",
        "https://evil.example/?example.com",
        "https://example.com:99999999/",
        "https://[",
        "",
    ),
    "*.example.com": ("https://example.com/", "https://notexample.com/", "https://example.com.evil.example/"),
    "http://10.0.0.5:8080": ("http://10.0.0.5/", "https://10.0.0.5:8080/"),
}
REFUSED = (
    "",
    "*",
    "*.com",
    "*.0.0.5",
    "*.",
    "a.*.com",
    "ftp://a.com",
    "a.com/path",
    "user@a.com",
    "a.com:0",
    "a.com:99999",
    "a b",
)


@pytest.mark.parametrize(("pattern", "url"), [(each, url) for each, urls in MATCHES.items() for url in urls])
def test_a_pattern_matches(pattern: str, url: str) -> None:
    assert HostPattern.parse(pattern).matches(url)
    assert HostPattern.parse(str(HostPattern.parse(pattern))) == HostPattern.parse(pattern)


@pytest.mark.parametrize(("pattern", "url"), [(each, url) for each, urls in NO_MATCH.items() for url in urls])
def test_a_pattern_does_not_match(pattern: str, url: str) -> None:
    assert not HostPattern.parse(pattern).matches(url)


@pytest.mark.parametrize("pattern", REFUSED)
def test_a_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidRequest):
        HostPattern.parse(pattern)


def test_the_own_the_exact_and_the_newest_come_first() -> None:
    url = "https://a.example.com/model"
    shared, wild = secret("", "S", "a.example.com", 9), secret("ada", "W", "*.example.com", 8)
    old, new = secret("ada", "O", "a.example.com", 1), secret("ada", "N", "a.example.com", 2)

    assert best_for(url, [shared, wild, old, new]) == new
    assert best_for(url, [shared, wild]) == wild
    assert best_for(url, [shared]) == shared
    assert best_for("https://example.com/", [shared, wild, old, new]) is None


def test_a_bare_value_is_a_bearers() -> None:
    assert header_of(secret("ada", "A", "a.example"), "hf_abc") == ("Authorization", "Bearer hf_abc")
    assert header_of(secret("ada", "A", "a.example"), "Basic abc") == ("Authorization", "Basic abc")
    assert header_of(secret("ada", "A", "a.example", header="X-Key"), "abc") == ("X-Key", "abc")


@pytest.mark.parametrize("name", ["", "1A", "a b", "a/b", "ä", "x" * 65])
def test_a_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        checked_name(name)


@pytest.mark.parametrize("value", ["", "  ", "a\nb", "a\r\nX: y", "ä", "x" * 5000], ids=repr)
def test_a_value_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        checked_value(value)

    assert value.strip() == "" or value not in refused.value.message


@pytest.mark.parametrize("header", ["", "Host", "Range", "Cookie", "content-length", "a b", "a:b", "a\nb"])
def test_a_header_is_refused(header: str) -> None:
    with pytest.raises(InvalidRequest):
        checked_header(header)


def test_a_secret_needs_hosts() -> None:
    with pytest.raises(InvalidRequest, match="needs 1 to"):
        checked_hosts([])
    with pytest.raises(InvalidRequest, match="needs 1 to"):
        checked_hosts(["a.example"] * 21)


def secret(account_id: str, name: str, host: str, at: int = 1, *, header: str = "Authorization") -> NamedSecret:
    return NamedSecret(account_id, name, (HostPattern.parse(host),), header, "key", "encrypted", at, None)
