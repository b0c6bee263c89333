"""A ZIP that is made while it is sent can be read by any other program."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator

import pytest

from comfyward.web.archive import Member, member_name, whole, zip_of


async def test_a_zip_in_pieces() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            yield bytes([number]) * 1000

    async def members() -> AsyncIterator[Member]:
        yield "a/large.bin", pieces()
        yield "ü.txt", whole(b"hello")
        yield "empty", whole(b"")

    sent = [piece async for piece in zip_of(members())]

    assert len(sent) > 100
    archive = zipfile.ZipFile(io.BytesIO(b"".join(sent)))
    assert archive.testzip() is None
    assert archive.namelist() == ["a/large.bin", "ü.txt", "empty"]
    assert archive.read("a/large.bin") == b"".join(bytes([number]) * 1000 for number in range(100))
    assert archive.read("ü.txt") == b"hello"


@pytest.mark.parametrize(
    ("name", "unpacked"),
    [
        ("a/b.png", "a/b.png"),
        ("..\\..\\win.ini", ".._.._win.ini"),
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("C:\\x.png", "C__x.png"),
        ("C:/x.png", "C_/x.png"),
        ("a\nb\0c.txt", "a_b_c.txt"),
        ("..", "file"),
    ],
)
def test_a_name_unpacks_below_the_folder_of_the_zip(name: str, unpacked: str) -> None:
    assert member_name(name) == unpacked
