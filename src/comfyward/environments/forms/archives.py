"""The files of a stranger's archive that are read, within bounds. Nothing is unpacked."""

from __future__ import annotations

import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from typing import IO

from comfyward.errors import InvalidEnvironment

MAX_MEMBERS = 20_000
INSIDE = 5  # how many entries there may be for each file: those of archives inside an archive count too
_ENTRY = b"PK\x01\x02"
_PIECE_BYTES = 1 << 20
MAX_FILE_BYTES = 4 << 20
MAX_TAR_BYTES = 64 << 20
_UNREADABLE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, NotImplementedError, EOFError, OSError, ValueError)

Members = dict[str, bytes]  # by path; files that are not read have no content


def zip_members(archive: bytes, wanted: frozenset[str]) -> Members:
    """All files of a zip archive, with the content of those that are wanted. Raises InvalidEnvironment."""
    check_entries(io.BytesIO(archive), MAX_MEMBERS)
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            infos = packed.infolist()
            _check_count(len(infos))
            for info in infos:
                kind = stat.S_IFMT(info.external_attr >> 16)
                _check(info.filename, is_plain=kind in (0, stat.S_IFREG, stat.S_IFDIR))
                check_method(info)
            return {info.filename: _read(packed, info) if info.filename in wanted else b"" for info in infos}
    except (*_UNREADABLE, lzma.LZMAError, RuntimeError) as error:
        raise InvalidEnvironment(f"The archive cannot be read: {error}.") from error


def check_entries(archive: IO[bytes], most: int) -> None:
    """Raises InvalidEnvironment for a zip archive of far more than `most` files, of which zipfile would make objects
    before it tells their number."""
    count, kept = 0, b""
    while count <= most * INSIDE and (piece := archive.read(_PIECE_BYTES)):
        count += (kept + piece).count(_ENTRY)
        kept = piece[-len(_ENTRY) + 1 :]
    if count > most * INSIDE:
        raise InvalidEnvironment(f"The archive holds more than {most} files.")


def check_method(info: zipfile.ZipInfo) -> None:
    """Raises InvalidEnvironment for a compression that zipfile unpacks without bounds: a kilobyte may be gigabytes."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidEnvironment(f"{info.filename[:200]!r} in the archive is compressed in a way that is not taken.")


def tar_members(archive: bytes, wanted: frozenset[str]) -> Members:
    """All files of a compressed tar archive, with the content of those whose names are wanted."""
    try:
        with tarfile.open(fileobj=io.BytesIO(_inflated(archive)), mode="r:") as packed:
            found: Members = {}
            for member in packed:
                _check_count(len(found))
                _check(member.name, is_plain=member.isfile() or member.isdir())
                file = packed.extractfile(member) if member.name.rpartition("/")[2] in wanted else None
                if member.isfile():
                    found[member.name] = file.read(MAX_FILE_BYTES) if file is not None else b""
            return found
    except _UNREADABLE as error:
        raise InvalidEnvironment(f"The archive cannot be read: {error}.") from error


def _inflated(archive: bytes) -> bytes:
    inflating = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    content = inflating.decompress(archive, MAX_TAR_BYTES)
    if inflating.unconsumed_tail:
        raise InvalidEnvironment(f"The archive holds more than {MAX_TAR_BYTES} bytes.")
    return content


def _read(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with packed.open(info) as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise InvalidEnvironment(f"{info.filename} in the archive has more than {MAX_FILE_BYTES} bytes.")
    return content


def _check_count(count: int) -> None:
    if count > MAX_MEMBERS:
        raise InvalidEnvironment(f"The archive holds more than {MAX_MEMBERS} files.")


def _check(name: str, *, is_plain: bool) -> None:
    """Raises InvalidEnvironment for a link, a device, or a path that leads out."""
    parts = name.rstrip("/").split("/")
    if not is_plain or "\\" in name or any(part in ("", "..") or "\0" in part for part in parts):
        raise InvalidEnvironment(f"The archive holds {name[:200]!r}, which is not a plain file below it.")
