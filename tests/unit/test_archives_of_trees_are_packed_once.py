"""What workers fetch of a pack's files is packed once for all of them, bounded, and removed when nobody reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from comfyward.api.gateway.environments import Sent
from comfyward.environments.packed import ANYBODY, PackedTrees, Reader
from comfyward.environments.trees import Trees
from comfyward.errors import Unavailable


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees.below(tmp_path / "environments")


@pytest.fixture
async def archives(trees: Trees) -> AsyncIterator[PackedTrees]:
    packed = PackedTrees(trees, most=2)
    yield packed
    packed.close()


def tree(trees: Trees, folder: Path, text: str) -> str:
    folder.mkdir()
    (folder / "__init__.py").write_text(text)
    return trees.add(folder)


async def test_readers_at_the_same_time_and_later_share_one(
    trees: Trees, archives: PackedTrees, tmp_path: Path
) -> None:
    digest = tree(trees, tmp_path / "a", "A = 1\n")

    first, second = await asyncio.gather(archives.take(digest), archives.take(digest))

    assert first is not None
    assert first is second
    archives.leave(first)
    assert await archives.take(digest) is first
    assert await archives.take("0" * 64) is None


async def test_those_in_use_stay_and_take_no_more_than_their_places(
    trees: Trees, archives: PackedTrees, tmp_path: Path
) -> None:
    a, b, c = (tree(trees, tmp_path / name, f"{name} = 1\n") for name in "abc")
    held, other = await archives.take(a), await archives.take(b)
    assert held is not None
    assert other is not None

    with pytest.raises(Unavailable):
        await archives.take(c)
    archives.leave(other)
    assert await archives.take(c) is not None

    assert held.path.is_file()
    assert not other.folder.path.exists()


async def test_a_reader_holds_no_more_than_its_share(trees: Trees, tmp_path: Path) -> None:
    archives, slow = PackedTrees(trees, most=3), Reader("of one pool", 1)
    a, b = (tree(trees, tmp_path / name, f"{name} = 1\n") for name in "ab")
    held, again = await archives.take(a, slow), await archives.take(a, slow)
    assert held is not None
    assert again is held

    with pytest.raises(Unavailable, match="Workers of this token"):
        await archives.take(b, slow)
    assert await archives.take(b, Reader("another", 1)) is not None
    for _ in range(2):
        archives.leave(held, slow)
    assert await archives.take(b, slow) is not None
    archives.close()


async def test_one_that_nobody_wants_any_more_is_removed(trees: Trees, tmp_path: Path) -> None:
    archives = PackedTrees(trees, kept_s=0)
    packed = await archives.take(tree(trees, tmp_path / "a", "A = 1\n"))
    assert packed is not None

    archives.leave(packed)

    while packed.folder.path.exists():
        await asyncio.sleep(0)


async def test_a_reader_that_goes_away_gives_it_back(trees: Trees, archives: PackedTrees, tmp_path: Path) -> None:
    packed = await archives.take(tree(trees, tmp_path / "a", "A = 1\n"))
    assert packed is not None

    async def gone(_: object) -> None:
        raise OSError("the client has gone")

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    with pytest.raises(OSError, match="has gone"):
        await Sent(archives, packed, ANYBODY)({"type": "http", "method": "GET", "headers": []}, receive, gone)

    assert not packed.readers
