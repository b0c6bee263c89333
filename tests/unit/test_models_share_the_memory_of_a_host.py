"""The memory for models is one budget of all workers of a host; what is used longest ago makes room."""

import threading
from pathlib import Path

import pytest

from comfyward.files import page_cache
from comfyward.files.model_folders import ModelFolders
from comfyward.files.model_memory import ModelFile, ModelMemory, NoRoom
from tests.cold_files import cold, cooled

SIZE = 1 << 20


def model(folder: Path, name: str) -> ModelFile:
    return ModelFile(name, f"/models/vae/{name}", str(cold(folder / name, SIZE)))


def read(model: ModelFile) -> None:
    assert page_cache.read_in(model.place, threading.Event())


def test_a_file_is_read_to_its_end_or_until_it_is_stopped(tmp_path: Path) -> None:
    file, stop = cold(tmp_path / "a", SIZE + 1), threading.Event()
    assert page_cache.read_in(file, stop)
    assert page_cache.resident_bytes(file) == SIZE + 1

    stop.set()

    assert not page_cache.read_in(cooled(file), stop)
    assert page_cache.resident_bytes(file) == 0


def test_the_file_used_longest_ago_makes_room_for_another_workers(tmp_path: Path) -> None:
    a, b, c = (model(tmp_path, name) for name in "abc")
    one, other = (ModelMemory(tmp_path, 2 * SIZE) for _ in range(2))
    for kept in (a, b):
        one.claim(kept, "one", 0.0)
        read(kept)

    other.claim(c, "other", 60.0)

    assert [held.model.name for held in one.held()] == ["b", "c"]
    assert page_cache.resident_bytes(a.place) == 0
    assert page_cache.resident_bytes(b.place) == SIZE


def test_what_is_claimed_or_pinned_is_not_displaced(tmp_path: Path) -> None:
    a, b, c = (model(tmp_path, name) for name in "abc")
    memory = ModelMemory(tmp_path, 2 * SIZE)
    memory.claim(a, "one", 60.0)
    memory.claim(b, "one", 60.0, is_pin=True)

    with pytest.raises(NoRoom) as refused:
        memory.claim(c, "other", 60.0)
    assert (refused.value.size, refused.value.left, refused.value.limit) == (SIZE, 0, 2 * SIZE)

    memory.release("one")
    memory.claim(c, "other", 60.0)
    assert [held.model.name for held in memory.held()] == ["a", "c"]


def test_all_links_of_a_file_count_once(tmp_path: Path) -> None:
    first = model(tmp_path, "a")
    (tmp_path / "link").hardlink_to(first.place)
    memory = ModelMemory(tmp_path, SIZE)

    memory.claim(first, "one", 60.0)
    memory.claim(ModelFile("a", first.path, str(tmp_path / "link")), "other", 60.0)

    assert len(memory.held()) == 1


def test_the_time_since_which_a_file_is_whole_is_kept_until_it_is_not(tmp_path: Path) -> None:
    kept, memory = model(tmp_path, "a"), ModelMemory(tmp_path, SIZE)
    memory.claim(kept, "one", 60.0)
    memory.measured(kept)
    assert [(held.resident, held.since) for held in memory.held()] == [(0, 0.0)]

    read(kept)
    memory.arrived(kept)

    (whole,) = memory.held()
    assert whole.is_whole
    assert whole.since > 0
    cooled(kept.place)
    assert memory.measured(kept) == 0
    assert memory.held()[0].since == 0.0


def test_one_worker_reads_at_a_time(tmp_path: Path) -> None:
    one, other = (ModelMemory(tmp_path, SIZE) for _ in range(2))

    with one.reading() as first, other.reading() as second:
        assert (first, second) == (True, False)
    with other.reading() as then:
        assert then


def test_models_are_found_by_name_in_the_operators_folders_and_nowhere_else(tmp_path: Path) -> None:
    for place in ("models/loras/deep/a.pt", "models/vae/b.pt", "secret.pt"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"x")
    folders = ModelFolders([tmp_path / "absent", tmp_path / "models"])

    named = {name: found.path for name in ("deep/a.pt", "deep\\a.pt", "b.pt") if (found := folders.named(name))}
    assert named == dict(zip(named, ["/models/loras/deep/a.pt"] * 2 + ["/models/vae/b.pt"], strict=True))
    assert [folders.named(name) for name in ("../../secret.pt", "../secret.pt", "/b.pt", "c.pt", "a\0b.pt", "")] == [
        None
    ] * 6
    assert folders.at("/models/vae/b.pt") == folders.named("b.pt")
    assert folders.at("/models/vae/../../secret.pt") is None
