"""A folder or file below another is opened without links, whatever a node makes of its path meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyward.sandbox import beneath

pytestmark = pytest.mark.timeout(60)  # who opens a pipe may wait for its other end for ever


@pytest.fixture(params=["openat2", "in steps"])
def base(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """An open folder, on kernels with and without the call."""
    if request.param == "in steps":
        monkeypatch.setattr(beneath, "SYS_OPENAT2", 100_000)  # no kernel has it
    outside = tmp_path / "outside"
    (tmp_path / "base" / "folder").mkdir(parents=True)
    (tmp_path / "base" / "folder" / "file").write_text("bytes")
    outside.mkdir()
    (outside / "file").write_text("the host's")
    (tmp_path / "base" / "to_folder").symlink_to(outside)
    (tmp_path / "base" / "to_file").symlink_to(outside / "file")
    (tmp_path / "base" / "inside").symlink_to("folder")
    (tmp_path / "base" / "to_root").symlink_to(f"/proc/{os.getpid()}/root")
    os.mkfifo(tmp_path / "base" / "pipe")
    opened = os.open(tmp_path / "base", os.O_RDONLY)
    yield opened
    os.close(opened)


def test_a_regular_file_is_opened(base: int) -> None:
    with open(beneath.open_file(base, ["folder", "file"])) as file:
        assert file.read() == "bytes"


@pytest.mark.parametrize(
    "parts",
    [
        ["to_file"],
        ["to_folder", "file"],
        ["inside", "file"],
        ["to_root", "etc", "passwd"],
        ["..", "outside", "file"],
        ["folder", "..", "..", "outside", "file"],
        ["folder/../../outside/file"],
        ["folder"],
        ["pipe"],
        ["missing"],
        ["file\0"],
        [],
        ["n" * 300],
        ["folder"] * 2000,
    ],
)
def test_everything_else_is_not_found(base: int, parts: list[str]) -> None:
    with pytest.raises(FileNotFoundError):
        beneath.open_file(base, parts)


@pytest.mark.parametrize("parts", [["to_folder"], ["inside"], ["to_root"], ["folder", "file"], ["pipe"], [".."]])
def test_only_a_folder_is_opened_as_one(base: int, parts: list[str]) -> None:
    with pytest.raises(FileNotFoundError):
        beneath.open_folder(base, parts)


def test_no_descriptor_stays_open(base: int, tmp_path: Path) -> None:
    before = opened_in(tmp_path)
    for parts in (["folder", "file"], ["pipe"], ["to_folder", "file"], ["folder"]):
        try:
            os.close(beneath.open_file(base, parts))
        except FileNotFoundError:
            continue
    assert opened_in(tmp_path) == before == [str(tmp_path / "base")]


def opened_in(folder: Path) -> list[str]:
    """What this process has open in a folder; its other threads may open and close whatever is theirs."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(descriptor))
    return sorted(path for path in found if path.startswith(str(folder)))
