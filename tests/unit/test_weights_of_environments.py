"""Files that packs want are fetched through the guard, pinned by their digest, and linked into what is built."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyward.comfy import private_copy
from comfyward.environments.fetching import Fetching, WeightsStore
from comfyward.environments.weights import Weights
from comfyward.errors import ComfywardError, FetchFailed, FetchRefused, InvalidEnvironment, SetupFailed
from tests.fakes.http import Origin, origin

FACES = b"faces" * 1000
SHA256 = hashlib.sha256(FACES).hexdigest()


def quiet(step: str, fraction: float | None) -> None:
    return


@pytest.fixture
def files() -> Iterator[Origin]:
    with origin() as served:
        served.put("/faces.onnx", FACES)
        yield served


@pytest.fixture
def store(tmp_path: Path) -> WeightsStore:
    return WeightsStore(Fetching(str(tmp_path / "cache"), allow=("127.0.0.1",)))


def test_what_a_spec_does_not_say_is_learned_by_fetching_once(
    files: Origin, store: WeightsStore, tmp_path: Path
) -> None:
    wanted = Weights("models/insightface/faces.onnx", f"{files.url}/faces.onnx")

    pinned = store.pinned(wanted, quiet)
    asked = len(files.requests)
    store.place(pinned, tmp_path / "build", quiet)

    assert (pinned.sha256, pinned.size) == (SHA256, len(FACES))
    placed = tmp_path / "build" / "files" / "models" / "insightface" / "faces.onnx"
    assert placed.read_bytes() == FACES
    assert len(files.requests) == asked
    (blob,) = (tmp_path / "cache" / "blobs").glob("*/*")
    assert os.path.samefile(blob, placed)
    assert blob.stat().st_nlink == 2
    assert not blob.stat().st_mode & 0o222


@pytest.mark.parametrize(
    ("said", "error", "sentence"),
    [
        ({"sha256": "0" * 64}, FetchFailed, "does not have the expected digest"),
        ({"size": 7}, InvalidEnvironment, f"has {len(FACES)} bytes; the spec says 7"),
    ],
)
def test_a_file_that_is_not_what_the_spec_says_is_refused(
    files: Origin, store: WeightsStore, said: dict, error: type[ComfywardError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        store.pinned(Weights("models/a/b", f"{files.url}/faces.onnx", **said), quiet)


def test_a_file_that_has_changed_at_its_address_is_not_built(files: Origin, tmp_path: Path) -> None:
    pinned = Weights("packs/kj/ckpts/faces.onnx", files.put("/faces.onnx", b"other"), SHA256, len(FACES))
    store = WeightsStore(Fetching(str(tmp_path / "cache"), allow=("127.0.0.1",)))

    with pytest.raises(FetchFailed, match="does not have the expected digest"):
        store.place(pinned, tmp_path / "build", quiet)

    assert not (tmp_path / "build" / pinned.path).exists()


def test_a_private_address_is_refused(files: Origin, tmp_path: Path) -> None:
    with pytest.raises(FetchRefused, match="is private or reserved"):
        WeightsStore(Fetching.below(tmp_path)).pinned(Weights("models/a/b", f"{files.url}/faces.onnx"), quiet)
    assert files.requests == []


def test_a_link_of_a_pack_leads_no_file_elsewhere(files: Origin, store: WeightsStore, tmp_path: Path) -> None:
    pinned = Weights("packs/kj/ckpts/faces.onnx", f"{files.url}/faces.onnx", SHA256, len(FACES))
    (tmp_path / "build" / "packs" / "kj").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "build" / "packs" / "kj" / "ckpts").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(SetupFailed, match="is a link of the pack"):
        store.place(pinned, tmp_path / "build", quiet)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_huggingface_hub_looks_for_is_there(files: Origin, store: WeightsStore, tmp_path: Path) -> None:
    commit = "4" * 40
    path = f"home/.cache/huggingface/hub/models--a--b/snapshots/{commit}/faces.onnx"
    store.place(Weights(path, f"{files.url}/faces.onnx", SHA256, len(FACES)), tmp_path / "build", quiet)

    private_copy.of_weights(tmp_path / "build" / "files" / "home", tmp_path / "user")

    hub = tmp_path / "user" / ".cache" / "huggingface" / "hub" / "models--a--b"
    assert (hub / "refs" / "main").read_text() == commit
    assert (hub / "snapshots" / commit / "faces.onnx").read_bytes() == FACES


def test_large_files_are_linked_to_what_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_copy, "COPY_LIMIT_BYTES", 10)
    (tmp_path / "weights" / "faces").mkdir(parents=True)
    (tmp_path / "weights" / "faces" / "large").write_bytes(FACES)
    (tmp_path / "models" / "faces").mkdir(parents=True)

    private_copy.of_weights(tmp_path / "weights", tmp_path / "models")

    assert (tmp_path / "models" / "faces" / "large").readlink() == tmp_path / "weights" / "faces" / "large"
