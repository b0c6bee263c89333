"""An archive of web files holds plain paths within bounds, in one order; its types are ours."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyward.environments import web_files
from comfyward.environments.web_files import MAX_PATH, WebFile, is_plain, packed, unpacked
from comfyward.errors import InvalidRequest

segments = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), min_size=1, max_size=9)
paths = st.lists(segments, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)).filter(is_plain)
files = st.builds(WebFile, paths, st.just("pack"), st.binary(max_size=9), st.sampled_from(["", "text/plain"]))


@given(st.lists(files, unique_by=lambda file: file.path, max_size=6), st.randoms(use_true_random=False))
def test_an_archive_is_the_same_in_whatever_order_it_is_made(given: list[WebFile], order: random.Random) -> None:
    shuffled = order.sample(given, len(given))

    assert packed(shuffled) == packed(given)
    assert sorted(given, key=lambda file: file.path) == list(unpacked(packed(given)))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "extensions/a.js",
        "//host/a.js",
        "/extensions/../a.js",
        "/extensions/./a.js",
        "/extensions//a.js",
        "/extensions/a\\b.js",
        "/extensions/a\n.js",
        "/extensions/a\0.js",
        "/" + "a" * MAX_PATH,
    ],
)
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    assert not is_plain(path)
    with pytest.raises(InvalidRequest):
        unpacked(packed([WebFile(path, "pack", b"")]))


def test_what_is_no_archive_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = WebFile("/a", "pack", b"1"), WebFile("/b", "pack", b"2")
    answer = WebFile("/c", "pack", bytes(web_files.MAX_ANSWER_BYTES + 1), "text/plain")
    large = WebFile("/c", "pack", bytes(web_files.MAX_FILE_BYTES + 1))
    for archive in (
        b"",
        b"PK\3\4",
        b"\x91" * 5000,
        msgspec.msgpack.encode([two, one]),
        msgspec.msgpack.encode([one, one]),
        msgspec.msgpack.encode([["/a", "pack", "text"]]),
        packed([answer]),
        packed([large]),
    ):
        with pytest.raises(InvalidRequest, match="cannot be taken"):
            unpacked(archive)
    for name, most in (("MAX_FILES", -web_files.MAX_ANSWERS), ("MAX_BYTES", 3)):
        with monkeypatch.context() as patched:
            patched.setattr(web_files, name, most)
            with pytest.raises(InvalidRequest):
                unpacked(packed([one]))


@pytest.mark.parametrize(
    ("path", "answered", "media_type"),
    [
        ("/extensions/p/a.js", "", "text/javascript"),
        ("/extensions/p/a.MJS", "", "text/javascript"),
        ("/extensions/p/a.html", "", "application/octet-stream"),
        ("/extensions/p/a", "", "application/octet-stream"),
        ("/p/config.js", "text/html", "text/javascript"),
        ("/p/version", "application/json; charset=utf-8", "application/json"),
        ("/p/code", "application/javascript", "text/javascript"),
        ("/p/page", "text/html", "application/octet-stream"),
        ("/p/page", "multipart/x-mixed-replace", "application/octet-stream"),
    ],
)
def test_types_are_ours(path: str, answered: str, media_type: str) -> None:
    assert WebFile(path, "p", b"", answered).media_type == media_type
