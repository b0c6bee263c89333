"""Files that are made to hurt whoever decodes them: they reach nothing, take little, and delay no other account."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from comfyward.files import pictures
from comfyward.files.pictures import Decoders

# What decoding would do if a decoder were taken over: a decoder of which one step is replaced by code that tries it.
TRIES = """
import errno, os, socket
from comfyward.files import decoding
decoding._load(with_av=False)
if {drops} and os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
def attempt(what, action):
    try:
        action()
        os.write(1, f"{{what}}: possible\\n".encode())
    except OSError as error:
        os.write(1, f"{{what}}: {{errno.errorcode[error.errno]}}\\n".encode())
def take_over(*_):
    attempt("read", lambda: os.open("/etc/passwd", os.O_RDONLY))
    attempt("read the server", lambda: os.open("/proc/{server}/environ", os.O_RDONLY))
    attempt("write", lambda: os.open("/tmp/harm", os.O_WRONLY | os.O_CREAT))
    attempt("start", lambda: os.execv("/bin/sh", ["sh", "-c", "echo started"]))
    attempt("signal", lambda: os.kill({server}, 0))
    tcp, datagrams = (socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM))
    attempt("connect", lambda: tcp.connect(("127.0.0.1", {port})))
    attempt("send", lambda: datagrams.sendto(b"x", ("127.0.0.1", {port})))
    attempt("unix", lambda: socket.socket(socket.AF_UNIX).connect("{unix}"))
decoding._thumbnail = take_over
decoding.main("thumbnail")
"""


@pytest.mark.parametrize("drops", [False, True], ids=["as this user", "as nobody"])
def test_a_decoder_that_is_taken_over_reaches_nothing(tmp_path: Path, drops: bool) -> None:
    path = tmp_path / "socket"
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        code = TRIES.format(drops=drops, server=os.getpid(), port=listener.getsockname()[1], unix=path)
        command = [sys.executable, "-I", "-c", code]
        with (tmp_path / "source").open("w+b") as source:
            ended = subprocess.run(
                command, env={}, stdin=source, stdout=subprocess.PIPE, text=True, timeout=60, check=True
            )
        tried = ended.stdout

    assert len(tried.splitlines()) == 8, tried
    assert "possible" not in tried
    assert "started" not in tried
    assert not Path("/tmp/harm").exists()


async def test_a_decoder_has_nothing_of_the_servers_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the decoder's place, code that tells what it was started with."""
    monkeypatch.setenv("COMFYWARD_DATABASE_URL", "postgresql://of:secret@the/server")
    tells = "import os; os.write(1, repr(dict(os.environ)).encode())"
    monkeypatch.setattr(pictures, "_COMMAND", (sys.executable, "-I", "-c", tells))
    (tmp_path / "source").touch()

    assert await Decoders().thumbnail("mallory", tmp_path / "source", tmp_path / "told")

    told = (tmp_path / "told").read_text()
    assert told.startswith("{")
    assert "secret" not in told
    assert "PATH" not in told


@pytest.mark.parametrize("name", ["a.eps", "a.pdf", "a.psd", "a.ico", "a.tga", "a.ppm", "a.jp2", "a.dds", "a.fits"])
async def test_formats_beside_those_of_the_web_are_never_tried(tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    form = {"a.fits": b"SIMPLE  =                    T" + b" " * 5000, "a.psd": b"8BPS" + bytes(100)}.get(name)
    if form is not None:
        source.write_bytes(form)
    else:
        Image.new("RGB", (64, 64)).save(source)

    assert not await Decoders().thumbnail("mallory", source, tmp_path / "target")


@pytest.mark.parametrize("side", [20_000, 60_000, 2_000_000])
async def test_a_picture_of_too_many_pixels_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    """Before its pixels are unpacked: they would take gigabytes."""
    bomb(tmp_path / "bomb.png", side)

    assert not await Decoders().thumbnail("mallory", tmp_path / "bomb.png", tmp_path / "target")
    assert not await Decoders().convert(
        "mallory", tmp_path / "bomb.png", tmp_path / "target", form="png", quality=90, channel="rgba"
    )


async def test_many_bombs_of_one_account_delay_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of each account is decoded at a time: the victim's is done while the first of them still is."""
    order: list[str] = []
    alive = most = 0
    begun, release = asyncio.Event(), asyncio.Event()

    async def run(operation: tuple[str, ...], source: int, target: int, more: tuple[int, ...]) -> bool:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        who = os.read(source, 10).decode()
        begun.set()
        if who == "bomb":
            await release.wait()
        order.append(who)
        alive -= 1
        return True

    monkeypatch.setattr(pictures, "_run", run)
    decoders = Decoders()
    for name in ("bomb", "photo"):
        (tmp_path / name).write_text(name)
    bombs = [asyncio.create_task(decoders.thumbnail("mallory", tmp_path / "bomb", tmp_path / f"{n}")) for n in range(9)]
    await begun.wait()

    photo = asyncio.create_task(decoders.thumbnail("victim", tmp_path / "photo", tmp_path / "small"))
    _, waiting = await asyncio.wait([photo], timeout=60)

    assert not waiting, f"{alive} bombs have all the places"
    assert await photo
    assert order == ["photo"]
    release.set()
    await asyncio.gather(*bombs)
    assert most == 2


def bomb(path: Path, side: int) -> None:
    """A PNG of side by side black pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compressobj(9)
    body = pixels.compress(bytes(1 << 20)) + pixels.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
