"""Paths and sources in `files`: the valid ones, and a clear error for every other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyward.errors import InvalidPath, InvalidRequest, InvalidUrl
from comfyward.runs.files import (
    Inline,
    Stored,
    Url,
    content_type_of,
    disposition_of,
    parse_files,
    parse_path,
    parse_source,
    source_from_row,
    source_to_row,
)


@pytest.mark.parametrize(
    "path",
    [
        "/input/a.png",
        "/input/sub/a b.png",
        "/models/loras/x.safetensors",
        "/models/a/b/c.bin",
        "/input/Ünï.png",
        "/input/Screenshot 2026-11-26 at 9.41.12\u202fAM.png",
        "/input/no\u00a0break\u3000wide",
        "/input/family \U0001f468\u200d\U0001f469\u200d\U0001f467.png",
        "/input/\u202egnp.exe",
        "/input/\u200f\u05de\u05e1\u05de\u05da.png",
        "/input/20261126",
        "/input/.hidden",
        "/input/-dash",
        "/input/ space .",
        "/input/...",
        '/input/50%25#1?a=b&"quoted".png',
        "/input/a\nb\tc.png",
        "/input/back\\slash.png",
        "/input/" + "é" * 127,
    ],
)
def test_paths_below_input_and_models_are_taken(path: str) -> None:
    assert parse_path(path) == path
    assert parse_path(path.removeprefix("/")) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/input",
        "/input/",
        "/models/x.safetensors",
        "/input/../../etc/passwd",
        "/input/..",
        "/input/./a",
        "/input//a",
        "/etc/passwd",
        "//etc/passwd",
        "/output/a.png",
        "/inputs/a.png",
        "C:\\input\\a.png",
        "/input\\..\\a",
        "/input/a\0.png",
        "/input/half a character \ud800",
        "/input/" + "a" * 256,
        "/input/" + "é" * 128,
        "/models\\..\\x",
        "/models/loras\\..\\..\\x",
        "/input/" + "a/" * 600 + "b",
        None,
        7,
    ],
)
def test_other_paths_are_refused(path: object) -> None:
    with pytest.raises(InvalidPath):
        parse_path(path)


def test_a_model_may_be_named_as_windows_names_it() -> None:
    assert parse_path("/models/checkpoints\\SDXL\\model.safetensors") == "/models/checkpoints/SDXL/model.safetensors"
    assert parse_path("models\\loras\\x.safetensors") == "/models/loras/x.safetensors"


@given(st.text())
def test_no_path_leaves_its_folder(text: str) -> None:
    try:
        path = parse_path(text)
    except InvalidPath:
        return
    assert path.startswith(("/input/", "/models/"))
    assert not {"", ".", ".."} & set(path.split("/")[1:])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:///etc/passwd",
        "ftp://h/x",
        "//h/relative",
        "relative.png",
        "http://",
        "https:///x",
        "http://user@/x",
        "http://h:99999/",
        "http://h:p/",
        "http://a b/",
        "http://half\ud800/",
        "http://h/half\ud800",
        "x",
        7,
    ],
)
def test_other_urls_are_refused(url: object) -> None:
    with pytest.raises((InvalidUrl, InvalidRequest)):
        parse_source("/input/a", url)


@pytest.mark.parametrize(
    ("url", "data", "content_type"),
    [
        ("data:text/plain;base64,aGVsbG8=", b"hello", "text/plain"),
        ("data:text/plain;base64,aGVsbG8", b"hello", "text/plain"),
        ("data:text/plain;charset=utf-8;BASE64,aGVs\r\n bG8=\n", b"hello", "text/plain"),
        ("data:text/plain; base64 ,aGVsbG8%3D", b"hello", "text/plain"),
        (" DATA:;base64,_-8", b"\xff\xef", "application/octet-stream"),
        ("data:;base64,/%2B8=", b"\xff\xef", "application/octet-stream"),
        ("data:image/png;base64,", b"", "image/png"),
        ("data:image/png;base64,aGVsbG8=#page", b"hello", "image/png"),
        ("data:,a%20b+c", b"a b+c", "application/octet-stream"),
        ("data:text/plain,é", "é".encode(), "text/plain"),
        ("data:text/x-base64,aGVsbG8=", b"aGVsbG8=", "text/x-base64"),
    ],
)
def test_a_data_url_is_read_as_browsers_read_it(url: str, data: bytes, content_type: str) -> None:
    assert parse_source("/input/a", url) == Inline(data, content_type)
    assert parse_source("/input/a", {"url": url}) == Inline(data, content_type)


@pytest.mark.parametrize("url", ["data:text/plain;base64", "data:;base64,not base64!", "data:;base64,aGVsb", "data:"])
def test_a_data_url_that_no_browser_reads_is_refused(url: str) -> None:
    with pytest.raises(InvalidUrl):
        parse_source("/input/a", url)


def test_a_long_value_is_not_sent_back(subtests: pytest.Subtests) -> None:
    long = "x" * 3_000_000
    for value in (
        f"data:;base64,{long}!",
        f"https://host/{long}",
        {long: long},
        {"url": "https://h/", "headers": {long: 7}},
    ):
        with subtests.test(kind=str(type(value))), pytest.raises(InvalidRequest) as refused:
            parse_source("/input/a", value)
        assert len(repr([refused.value.message, refused.value.hint, refused.value.details])) < 5000
    with pytest.raises(InvalidPath) as refused_path:
        parse_path(f"/input/{long}")
    assert len(repr([refused_path.value.message, refused_path.value.details])) < 5000


def test_user_and_password_of_an_address_become_a_header() -> None:
    source = parse_source("/input/a", "https://bob:p%40ss@host:8443/x?y")

    assert source == Url("https://host:8443/x?y", headers=(("Authorization", "Basic Ym9iOnBAc3M="),))
    given = {"url": "https://bob:p@host/x", "headers": {"authorization": "Bearer mine", "X-A": "b"}}
    assert parse_source("/input/a", given) == Url(
        "https://host/x", headers=(("X-A", "b"), ("authorization", "Bearer mine"))
    )


def test_a_source_with_digest_and_headers() -> None:
    source = parse_source(
        "/models/a/b", {"url": "https://h/x", "digest": "sha256:" + "A" * 64, "headers": {"X-Key": "k"}}
    )

    assert source == Url("https://h/x", "a" * 64, (("X-Key", "k"),))
    assert isinstance(source, Url)
    assert source_from_row(source_to_row(source)) == source
    assert source_from_row(source_to_row(Stored("d", 3))) == Stored("d", 3)


@pytest.mark.parametrize(
    "value",
    [
        {"url": "https://h/x", "digest": "short"},
        {"url": "https://h/x", "headers": {"Host": "evil"}},
        {"url": "https://h/x", "headers": {"X": "a\r\nY: b"}},
        {"url": "https://h/x", "surprise": 1},
    ],
)
def test_bad_details_of_a_source_are_refused(value: object) -> None:
    with pytest.raises(InvalidRequest):
        parse_source("/input/a", value)


def test_a_file_cannot_be_a_folder_too() -> None:
    with pytest.raises(InvalidPath):
        parse_files({"/input/a": "https://h/x", "/input/a/b": "https://h/y"})
    with pytest.raises(InvalidPath):
        parse_files({"/input/a": "https://h/x", "input/a": "https://h/y"})
    with pytest.raises(InvalidRequest):
        parse_files(["/input/a"])


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a b.png", 'inline; filename="a b.png"'),
        ('x/"é"\r\n.png', "inline; filename=\"_____.png\"; filename*=UTF-8''%22%C3%A9%22%0D%0A.png"),
        ("page.html", 'attachment; filename="page.html"'),
        ("12345", 'attachment; filename="12345"'),
    ],
)
def test_what_a_file_is_saved_as(name: str, header: str) -> None:
    assert disposition_of(content_type_of(name), name) == header


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("data:,x.png", "image/png"),
        ("a.PNG", "image/png"),
        (".png", "application/octet-stream"),
        ("x.json.gz", "application/octet-stream"),
        ("12345", "application/octet-stream"),
    ],
)
def test_a_files_type_is_that_of_its_suffix(name: str, content_type: str) -> None:
    assert content_type_of(name) == content_type


def test_headers_have_any_name_that_a_header_may_have() -> None:
    named = parse_source("/input/a", {"url": "https://host/a", "headers": {"X_Api.Key": "k"}})
    assert named == Url("https://host/a", headers=(("X_Api.Key", "k"),))
    assert parse_source("/input/a", {"url": "https://host/a", "headers": []}) == Url("https://host/a")
    for wrong in ("é", "", "a b", "a:", "a\n", "²"):
        with pytest.raises(InvalidRequest):
            parse_source("/input/a", {"url": "https://host/a", "headers": {wrong: "k"}})
