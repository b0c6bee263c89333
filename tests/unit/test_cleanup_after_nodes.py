"""Everything that nodes leave in their folders is removed before the next run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyward.comfy.run_folders import RunFolders, StagedFile
from comfyward.sandbox import removal
from comfyward.worker.result_files import Bounds, copied, found_in, read_in, take

NOBODY = 65534
BOUNDS = Bounds(1 << 30)
DEPTH = 2500  # deeper than Python calls, and longer than a path may be


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """Folders in folders, as a node makes them that changes into each."""
    folder = tmp_path / "deep"
    script = f"""
import os
for _ in range({DEPTH}):
    os.mkdir("in")
    os.chdir("in")
open("last.png", "w").close()
"""
    folder.mkdir()
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True)
    yield folder
    removal.remove_tree(tmp_path)  # pytest cannot remove it, wherever a test has moved it


def test_deeply_nested_folders_are_removed(deep: Path) -> None:
    (deep / "0").mkdir()
    (deep / "0" / "file").write_text("the name of a number")

    removal.remove_tree(deep)

    assert not deep.exists()
    removal.remove_tree(deep)  # nothing is there, and nothing happens


def test_files_nested_too_deep_are_over_the_bounds(deep: Path) -> None:
    (deep / "picture.png").write_text("whole")

    found = found_in(deep, BOUNDS)

    assert [file.name for file in found.files] == ["picture.png"]
    assert found.excess == "The run left folders that are nested more than 64 deep."


def test_a_folder_replaced_by_a_symlink_is_not_followed(tmp_path: Path) -> None:
    """A node that still runs keeps a folder open, and swaps what is in it once the worker has looked."""
    left, secrets, target = tmp_path / "left", tmp_path / "secrets", tmp_path / "target"
    for folder in (left / "a", secrets):
        folder.mkdir(parents=True)
    (left / "a" / "link_secret").write_text("mine")
    (left / "picture.png").write_text("whole")
    (secrets / "link_secret").write_text("the host's")
    inner, picture = found_in(left, BOUNDS).files
    (left / "a").rename(left / "b")
    (left / "a").symlink_to(secrets)

    assert read_in(left, inner) is None
    assert not take(inner, left, target)
    assert not target.exists()
    assert (secrets / "link_secret").read_text() == "the host's"

    (left / "picture.png").unlink()
    (left / "picture.png").symlink_to(secrets / "link_secret")
    assert read_in(left, picture) is None
    assert not take(picture, left, target)


def test_an_output_folder_replaced_by_a_symlink_is_not_followed(tmp_path: Path) -> None:
    """Without a sandbox a node can put one there."""
    secrets, output, target = tmp_path / "secrets", tmp_path / "output", tmp_path / "target"
    secrets.mkdir()
    (secrets / "key.pem").write_text("the host's")
    output.symlink_to(secrets)

    with pytest.raises(StopIteration) as ended:
        next(copied(output, "key.pem", target, BOUNDS))
    assert ended.value.value is None
    assert not target.exists()


def test_folders_without_permissions(tmp_path: Path) -> None:
    """As somebody whom permissions stop, which the system's administrator is not."""
    script = f"""
import os
from pathlib import Path
from comfyward.sandbox import removal
root = Path("{tmp_path}") / "root"
if os.geteuid() == 0:
    os.chown(root, {NOBODY}, {NOBODY})
    os.setuid({NOBODY})
(root / "read-only" / "inner").mkdir(parents=True)
(root / "read-only" / "inner" / "file").write_text("x")
(root / "read-only" / "inner").chmod(0)
(root / "read-only").chmod(0o555)
removal.remove_tree(root / "read-only")
assert not list(root.iterdir()), list(root.iterdir())
"""
    (tmp_path / "root").mkdir()
    for folder in (tmp_path, *tmp_path.parents[:3]):
        os.chmod(folder, folder.stat().st_mode | 0o555)
    source = Path(removal.__file__).parents[2]
    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": str(source), "PATH": ""})


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "link").symlink_to(tmp_path / "kept")

    removal.remove_tree(tmp_path / "gone")
    removal.remove_tree(tmp_path / "link")

    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "file").exists()


def test_a_runs_folders_are_cleared_of_them(deep: Path, tmp_path: Path) -> None:
    base, blob = tmp_path / "base", tmp_path / "blob"
    for name in ("input", "models", "files"):
        (base / name).mkdir(parents=True)
    blob.write_text("bytes")
    folders = RunFolders(base, base.parent / "aside")
    folders.take_baseline()
    folders.place([StagedFile("/input/a.png", blob, "digest")])
    (base / "input" / "a.png").unlink()
    deep.rename(base / "input" / "a.png")

    folders.clear()

    assert not list((base / "input").iterdir())


def test_a_file_in_a_folder_with_an_unchanged_mtime_is_removed(tmp_path: Path) -> None:
    for name in ("input", "models", "files"):
        (tmp_path / name).mkdir()
    folders = RunFolders(tmp_path, tmp_path.parent / f"{tmp_path.name}-aside")
    folders.take_baseline()
    before = (tmp_path / "input").stat()
    (tmp_path / "input" / "left.png").write_text("of the last account")
    os.utime(tmp_path / "input", ns=(before.st_atime_ns, before.st_mtime_ns))

    folders.clear()

    assert not list((tmp_path / "input").iterdir())
