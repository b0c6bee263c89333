"""Addresses are escaped as browsers do it, once; what is escaped already stays; logins leave the address."""

import base64
import string
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyward.runs.address import Address, origin_of, parse_address, redirected, without_login

# What stands for itself in an address, and what has to be escaped.
SEGMENT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/?#\\%\t\r\n"), max_size=20)
LOGIN = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://host/x.png", "https://host/x.png"),
        ("HTTPS://Host:443", "https://Host:443"),
        ("  https://host/a b.png\n", "https://host/a%20b.png"),
        ("\u00a0\ufeffhttps://host/a\u3000b \u202f\u2028", "https://host/a%E3%80%80b"),
        ("https://host/a\n/b", "https://host/a/b"),
        ("https://host/a%20b%zz%E9.png", "https://host/a%20b%zz%E9.png"),
        ("https://host/é/日本.png?q=ü x#ä", "https://host/%C3%A9/%E6%97%A5%E6%9C%AC.png?q=%C3%BC%20x#%C3%A4"),
        ("https://host?q='\"<>", "https://host?q=%27%22%3C%3E"),
        ("https://host/a\\b?c\\d", "https://host/a/b?c\\d"),
        ("https:\\\\host\\a", "https://host/a"),
        ("https://bücher.example/x", "https://xn--bcher-kva.example/x"),
        ("https://faß.example/", "https://xn--fa-hia.example/"),
        ("https://💩.example/", "https://xn--ls8h.example/"),
        ("https://b%C3%BCcher.example/", "https://xn--bcher-kva.example/"),
        ("http://\uff11\uff12\uff17\u30020.0.1:/", "http://127.0.0.1/"),
        ("http://[::1]:8188/x", "http://[::1]:8188/x"),
        ("http://my_host/x", "http://my_host/x"),
    ],
)
def test_an_address_is_escaped_once(text: str, url: str) -> None:
    assert parse_address(text) == Address(url)
    assert parse_address(url) == Address(url)


@given(st.lists(SEGMENT, max_size=4), SEGMENT)
def test_paths_and_queries_survive_normalization(segments: list[str], query: str) -> None:
    plain = "/".join(["", *segments])
    address = parse_address(f"https://host{plain}?{query}|")
    parts = urlsplit(address.url)

    assert address.url.isascii()
    assert not set(address.url) & set(string.whitespace)
    assert unquote(parts.path, errors="strict") == plain
    assert unquote(parts.query, errors="strict") == f"{query}|"
    assert parse_address(address.url) == address
    assert parse_address(f"https://host{quote(plain)}").url == f"https://host{quote(plain)}"


@given(LOGIN, LOGIN)
def test_a_login_leaves_the_address_and_goes_to_the_header(user: str, password: str) -> None:
    secret = f"{quote(user, safe='')}:{quote(password, safe='')}"
    address = parse_address(f"https://{secret}@host/x")

    assert address.url == without_login(f"https://{secret}@host/x") == "https://host/x"
    assert address.authorization == f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@pytest.mark.parametrize("before", ["", " ", "\n\t", "\x00", "\u00a0", "\ufeff\u200b"])
@pytest.mark.parametrize("scheme", ["https://", "HTTPS:\\\\", "ht\ntps:/\t/", "http:\\/"])
def test_no_spelling_of_a_url_reveals_its_login(before: str, scheme: str) -> None:
    written = f"{before}{scheme}bob:se\ncret@host/x?a@b "

    assert parse_address(written).authorization == "Basic Ym9iOnNlY3JldA=="
    assert without_login(written).removeprefix("HTTPS").removeprefix("https").removeprefix("http") == "://host/x?a@b"
    assert without_login(f"{before}{scheme}host/x@y ") == f"{before}{scheme}host/x@y "


@given(st.text())
def test_arbitrary_text_is_refused_without_a_crash(text: str) -> None:
    for written in (text, f"https://{text}", f"https://host/{text}"):
        try:
            address = parse_address(written)
        except ValueError:
            continue
        assert address.url.startswith(("http://", "https://"))
        assert address.url.isascii()
        assert "@" not in urlsplit(address.url).netloc
        assert parse_address(address.url).url == address.url


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/there", "https://host/there"),
        ("a b.png", "https://host/folder/a%20b.png"),
        (b"https://other/a b".decode("latin-1"), "https://other/a%20b"),
        ("/é.png".encode().decode("latin-1"), "https://host/%C3%A9.png"),
        ("/é.png", "https://host/%E9.png"),
        ("//bücher.example/x".encode().decode("latin-1"), "https://xn--bcher-kva.example/x"),
        ("/a%20b?x=%C3%A9", "https://host/a%20b?x=%C3%A9"),
        ("?page=2", "https://host/folder/file?page=2"),
    ],
)
def test_redirect_bytes_are_followed_exactly(location: str, url: str) -> None:
    assert redirected(Address("https://host/folder/file"), location) == Address(url)


def test_a_redirect_may_carry_a_login() -> None:
    assert redirected(Address("https://host/"), "https://u:p@cdn/x") == Address("https://cdn/x", "Basic dTpw")


@pytest.mark.parametrize(
    ("location", "stays"),
    [
        ("/other", True),
        ("other?a=b", True),
        ("https://host:443/other", True),
        ("//HOST/other", True),
        ("https://host:8443/other", False),
        ("http://host/other", False),
        ("//cdn/other", False),
    ],
)
def test_a_login_stays_within_its_origin(location: str, stays: bool) -> None:
    found = redirected(Address("https://host/file", "Basic dTpw"), location)
    assert found.authorization == ("Basic dTpw" if stays else None)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "javascript:1", "ftp://h/"])
def test_a_redirect_to_another_scheme_is_refused(location: str) -> None:
    with pytest.raises(ValueError, match="it"):
        redirected(Address("https://host/"), location)


def test_an_origin_is_the_same_however_it_is_written() -> None:
    assert (
        origin_of("https://Host.example/a") == origin_of("https://host.example:443/b?c") == "https://host.example:443"
    )
    assert origin_of("http://host.example") != origin_of("https://host.example")
    assert origin_of("http://host.example") != origin_of("http://host.example:8080")
