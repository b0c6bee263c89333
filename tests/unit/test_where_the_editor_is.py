"""The editor's origin has another host name than the website's: the operator's, or one of this machine."""

import pytest
from pydantic import ValidationError
from starlette.requests import Request

from comfyward.api.editor_address import EditorAddress
from comfyward.api.public_url import PublicUrl
from comfyward.settings import Settings

CONFIGURED, EACH = "https://editor.example.com", "https://*.editor.example.com"


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ("http://localhost:8600", "http://*.editor.localhost:8600"),
        ("http://127.0.0.1:8600", "http://*.editor.localhost:8600"),
        ("http://127.9.9.9", "http://*.editor.localhost"),
        ("http://[::1]:80", "http://*.editor.localhost:80"),
        ("http://studio.localhost:1", "http://*.editor.localhost:1"),
        ("http://192.168.1.7:8600", None),
        ("http://localhost.example.com", None),
        ("https://localhost", None),
        ("https://comfyward.example.com", None),
    ],
)
def test_a_page_of_this_machine_has_one_by_default(page: str, found: str | None) -> None:
    assert EditorAddress(None).pattern(page) == found
    assert EditorAddress(CONFIGURED).of(page, "a") == CONFIGURED


def test_each_account_has_a_host_name_of_its_own_where_names_resolve() -> None:
    for address, page in ((EditorAddress(None), "http://localhost:8600"), (EditorAddress(EACH), "https://example.com")):
        one, other = address.of(page, "one"), address.of(page, "other")
        assert one is not None
        assert one != other
        assert one == address.of(page, "one")
        assert "one" not in one
        assert address.serves(one.partition("//")[2])
    for host in ("editor.example.com", "a.b.editor.example.com", ".editor.example.com", "aeditor.example.com"):
        assert not EditorAddress(EACH).serves(host)


def test_requests_are_the_editors_by_their_host_whatever_the_port() -> None:
    for host in (
        "editor.localhost",
        "x.editor.localhost",
        "editor.localhost:8600",
        "EDITOR.localhost:1",
        "editor.localhost.:8600",
    ):
        assert EditorAddress(None).serves(host)
        assert not EditorAddress(CONFIGURED).serves(host)
    for host in (
        "localhost:8600",
        "127.0.0.1",
        "",
        "x.y.editor.localhost",
        "editor.localhost.example.com",
        "[",
        "@",
        ":",
    ):
        assert not EditorAddress(None).serves(host)
    assert EditorAddress(CONFIGURED).serves("editor.example.com:8443")


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("comfyward.example.com", "https://comfyward.example.com"),  # the proxy in front has TLS
        ("127.0.0.1:8600", "http://127.0.0.1:8600"),
    ],
)
def test_the_origin_of_a_page_is_the_one_that_its_browser_shows(host: str, origin: str) -> None:
    scope = {"type": "http", "scheme": "http", "path": "/", "headers": [(b"host", host.encode())], "query_string": b""}
    assert PublicUrl("https://comfyward.example.com/").origin_of(Request(scope)) == origin


@pytest.mark.parametrize(
    "editor_url",
    [
        "https://example.com:8443",
        "http://editor.example.com",
        "https://editor.example.com/below",
        "editor.example.com",
        "*",
        "https://*",
        "https://*.com",
        "https://a.*.example.com",
        "https://*.*.example.com",
    ],
)
def test_an_origin_that_would_protect_nothing_is_refused(editor_url: str) -> None:
    with pytest.raises(ValidationError):
        Settings(public_url="https://example.com", editor_url=editor_url)
    assert Settings(public_url="https://example.com", editor_url=f"{CONFIGURED}:443/").editor_url == CONFIGURED
    assert Settings(public_url="https://example.com", editor_url=f"{EACH}/").editor_url == EACH
