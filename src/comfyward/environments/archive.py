"""Zip archives of packs. One that is unpacked is not to be trusted: below one folder, without links, within bounds."""

from __future__ import annotations

import lzma
import shutil
import stat
import zipfile
import zlib
from pathlib import Path

from comfyward.environments.forms.archives import check_entries, check_method
from comfyward.errors import InvalidEnvironment
from comfyward.files.part import is_full

MAX_FILES, MAX_BYTES = 100_000, 10 << 30
_UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError, ValueError)


def unpack(archive: Path, target: Path) -> None:
    """Unpacks into a folder that does not exist yet. A single folder at the top is left out.

    Raises InvalidEnvironment for anything that is not a plain archive of files.
    """
    try:
        with archive.open("rb") as file:
            check_entries(file, MAX_FILES)
        with zipfile.ZipFile(archive) as packed:
            members = packed.infolist()
            _check_bounds(archive, members)
            for member in members:
                _check(archive, member)
            for member in members:
                _write(packed, member, target)
    except _UNREADABLE as error:
        raise InvalidEnvironment(f"{archive.name} is not a zip archive that can be read: {error}.") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InvalidEnvironment(f"{archive.name} holds a file and a folder of the same name.") from error
    except OSError as error:
        if is_full(error):
            raise
        raise InvalidEnvironment(f"{archive.name} cannot be unpacked: {error.strerror or error}.") from error
    _without_top(target)
    if not any(path.is_file() for path in target.rglob("*")):
        raise InvalidEnvironment(f"{archive.name} holds no files.")


def pack(folder: Path, target: Path) -> None:
    """Writes an archive of a folder, which `unpack` makes the same folder of. Raises InvalidEnvironment for links."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1, strict_timestamps=False) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_symlink():
                raise InvalidEnvironment(f"{folder.name} holds a link, '{path.name}', which no archive can hold.")
            if path.is_file() and "__pycache__" not in path.parts:
                packed.write(path, f"tree/{path.relative_to(folder).as_posix()}")


def _check_bounds(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    size = sum(member.file_size for member in members)
    if len(members) > MAX_FILES or size > MAX_BYTES:
        raise InvalidEnvironment(f"{archive.name} holds {len(members)} files of {size} bytes, which is too much.")


def _check(archive: Path, member: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    parts = member.filename.rstrip("/").split("/")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise InvalidEnvironment(f"{archive.name} holds '{member.filename}', which is not a plain file below it.")
    check_method(member)


def _write(packed: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    path = target / member.filename
    if member.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with packed.open(member) as source, path.open("wb") as file:
        shutil.copyfileobj(source, file)  # never more than the archive's own list says
    if (member.external_attr >> 16) & stat.S_IXUSR:
        path.chmod(0o755)


def _without_top(target: Path) -> None:
    entries = list(target.iterdir()) if target.is_dir() else []
    if len(entries) == 1 and entries[0].is_dir():
        inner = target.with_name(f"{target.name}.inner")
        entries[0].rename(inner)
        target.rmdir()
        inner.rename(target)
