"""What may stand in `files`, and what is refused with a clear error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyward.errors import InvalidPath, InvalidRequest, InvalidUrl
from comfyward.runs.files import (
    Inline,
    Stored,
    Url,
    parse_files,
    parse_path,
    parse_source,
    source_from_row,
    source_to_row,
)


@pytest.mark.parametrize(
    "path",
    ["/input/a.png", "/input/sub/a b.png", "/models/loras/x.safetensors", "/models/a/b/c.bin", "/input/Ünï.png"],
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
        "/input/a\n.png",
        "/input/\u202egnp.exe",
        "/input/" + "a" * 256,
        "/input/" + "a/" * 600 + "b",
        None,
        7,
    ],
)
def test_other_paths_are_refused(path: object) -> None:
    with pytest.raises(InvalidPath):
        parse_path(path)


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
        "/relative",
        "http://",
        "https:///x",
        "http://h/a b",
        "http://h:99999/",
        "x",
        7,
    ],
)
def test_other_urls_are_refused(url: object) -> None:
    with pytest.raises((InvalidUrl, InvalidRequest)):
        parse_source("/input/a", url)


def test_a_data_url_is_inline_bytes() -> None:
    assert parse_source("/input/a", "data:text/plain;base64,aGVsbG8=") == Inline(b"hello", "text/plain")
    assert parse_source("/input/a", "data:,a%20b") == Inline(b"a b", "application/octet-stream")
    with pytest.raises(InvalidUrl):
        parse_source("/input/a", "data:text/plain;base64,not base64!")


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
