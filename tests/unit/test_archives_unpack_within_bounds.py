"""An archive that unpacks without bounds, or that lists files without end, is refused before it is read."""

from __future__ import annotations

import io
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from comfyward.environments import archive
from comfyward.environments.forms import archives
from comfyward.environments.forms.archives import check_entries, tar_members, zip_members
from comfyward.errors import InvalidEnvironment


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_of_a_pack_and_of_another_program(method: int, tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as packed:
        packed.writestr("snapshot.json", bytes(1 << 20))
    sent = tmp_path / "pack.zip"
    sent.write_bytes(made.getvalue())

    with pytest.raises(InvalidEnvironment, match="compressed in a way that is not taken"):
        zip_members(made.getvalue(), frozenset({"snapshot.json"}))
    with pytest.raises(InvalidEnvironment, match="compressed in a way that is not taken"):
        archive.unpack(sent, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


WAYS: dict[str, Callable[[Path], object]] = {
    "another program": lambda sent: zip_members(sent.read_bytes(), frozenset({"snapshot.json"})),
    "a pack": lambda sent: archive.unpack(sent, sent.with_name("unpacked")),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_list_of_half_a_million_files_takes_no_memory(way: str, tmp_path: Path) -> None:
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", *(20, 0, 20, 0), *[0] * 4, 0, 0, 0, *(1, 0, 0, 0, 0), 0, 0)
    directory = (entry + b"a") * 510_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, len(directory), 0, 0)
    sent = tmp_path / "sent.zip"
    sent.write_bytes(directory + end)

    tracemalloc.start()
    try:
        with pytest.raises(InvalidEnvironment, match="more than"):
            WAYS[way](sent)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 2 * len(directory)  # the archive itself is read; of each file an object would take ten times as much


def test_entries_are_counted_across_pieces() -> None:
    sent = io.BytesIO(b"x" + b"PK\x01\x02" * 600_002)  # one behind the other: where a piece ends, one lies across

    check_entries(sent, 120_001)
    sent.seek(0)
    with pytest.raises(InvalidEnvironment, match="more than 120000 files"):
        check_entries(sent, 120_000)


@pytest.mark.parametrize(("bound", "most"), [("MAX_BYTES", 5), ("MAX_FILES", 1)])
def test_a_pack_that_lists_too_much_is_not_unpacked(
    bound: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = tmp_path / "pack.zip"
    with zipfile.ZipFile(sent, "w") as packed:
        for name in ("a", "b"):
            packed.writestr(name, b"abc")
    monkeypatch.setattr(archive, bound, most)

    with pytest.raises(InvalidEnvironment, match="2 files of 6 bytes, which is too much"):
        archive.unpack(sent, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


def test_a_tar_that_unpacks_to_more_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as packed:
        packed.addfile(tarfile.TarInfo("empty"))
    monkeypatch.setattr(archives, "MAX_TAR_BYTES", 600)  # the file is whole before

    with pytest.raises(InvalidEnvironment, match="more than 600 bytes"):
        tar_members(made.getvalue(), frozenset())


def test_a_file_of_a_zip_that_is_longer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as packed:
        packed.writestr("snapshot.json", b"four")
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 3)

    with pytest.raises(InvalidEnvironment, match="has more than 3 bytes"):
        zip_members(made.getvalue(), frozenset({"snapshot.json"}))
    assert zip_members(made.getvalue(), frozenset()) == {"snapshot.json": b""}
