"""What packs leave in a trial that learns: links, pipes and lies about addresses lead to nothing that is not theirs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyward.environments.builds import Build
from comfyward.environments.fetching import Fetching
from comfyward.worker.learned import FoundFile
from comfyward.worker.learning import UNKNOWN_BYTES, Learning
from tests.fakes.http import Origin, origin

HOST = "127.0.0.2"
LARGE = os.urandom(UNKNOWN_BYTES)
COMMIT = "4" * 40


@pytest.fixture
def files() -> Iterator[Origin]:
    with origin(HOST) as served:
        yield served


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The folders of a ComfyUI whose packs have done something."""
    for folder in ("source/custom_nodes/pack", "models/faces", "user", "temp"):
        (tmp_path / "base" / folder).mkdir(parents=True)
    (tmp_path / "build" / "packs" / "pack").mkdir(parents=True)
    return tmp_path / "base"


def found(base: Path, *urls: object, hosts: tuple[str, ...] = (), allow: str = "127.0.0.0/8") -> dict[str, FoundFile]:
    """The finds by place; the record of what ComfyUI has asked for holds these lines."""
    lines = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in urls]
    (base / "temp" / "comfyward-fetched.jsonl").write_bytes(b"\n".join(lines))
    cache = Fetching(str(base.parent / "cache"), allow=(allow,)).opened()
    build = Build("d" * 64, base.parent / "build")
    learning = Learning(None, cache)  # type: ignore[arg-type]  # its ComfyUI has ended
    return {file.path: file for file in learning.found_in(base, build, hosts)}


def test_an_address_counts_if_the_same_bytes_are_there(base: Path, files: Origin) -> None:
    listed = files.url.removeprefix("http://")
    (base / "models" / "faces" / "right.onnx").write_bytes(b"right")
    (base / "models" / "faces" / "wrong.onnx").write_bytes(LARGE)
    right, wrong = files.put("/other-name", b"right"), files.put("/wrong.onnx", b"something else")

    told = found(base, wrong, right, hosts=(listed,))

    assert told["models/faces/right.onnx"].url == right
    assert told["models/faces/wrong.onnx"].url == ""
    assert told["models/faces/wrong.onnx"].sha256 == hashlib.sha256(LARGE).hexdigest()


def test_nothing_is_asked_of_other_hosts_or_private_ones(base: Path, files: Origin) -> None:
    (base / "models" / "faces" / "a.onnx").write_bytes(b"right")
    url = files.put("/a.onnx", b"right")

    assert found(base, url, hosts=("huggingface.co",)) == {}
    assert found(base, url, hosts=(url.removeprefix("http://").partition("/")[0],), allow="10.0.0.0/8") == {}
    assert files.requests == []


def test_a_record_that_is_none_is_passed_over(base: Path) -> None:
    (base / "models" / "faces" / "a.onnx").write_bytes(LARGE)

    told = found(base, b"\xff\xfe", b"[" * 100_000, ["a"], 7, "http://[", "a\nb", b"{", "x" * 5000)

    assert [file.url for file in told.values()] == [""]
    (base / "temp" / "comfyward-fetched.jsonl").unlink()
    (base / "temp" / "comfyward-fetched.jsonl").symlink_to("/etc/passwd")
    cache = Fetching(str(base.parent / "cache")).opened()
    learning = Learning(None, cache)  # type: ignore[arg-type]
    assert len(learning.found_in(base, Build("d" * 64, base.parent / "build"), ())) == 1


def test_links_and_pipes_lead_nowhere(base: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(LARGE)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner").write_bytes(LARGE)
    models = base / "models"
    (models / "absolute").symlink_to(secret)
    (models / "climbs").symlink_to("../../secret")
    (models / "folder").symlink_to(tmp_path / "folder")
    (models / "by-folder").symlink_to("folder/inner")
    (models / "itself").symlink_to("itself")
    os.mkfifo(models / "pipe")
    (models / "to-pipe").symlink_to("pipe")
    (base / "user").rmdir()
    (base / "user").symlink_to(tmp_path)
    (models / "closed").mkdir(mode=0)
    (models / "control\x1b[31m").write_bytes(LARGE)
    (models / os.fsdecode(b"bytes\xff")).write_bytes(LARGE)
    (models / "own").write_bytes(LARGE)

    assert list(found(base)) == ["models/own"]


def test_what_huggingface_hub_keeps_is_found_at_its_snapshot(base: Path) -> None:
    hub = base / "user" / ".cache" / "huggingface" / "hub" / "models--a--b"
    (hub / "blobs").mkdir(parents=True)
    (hub / "snapshots" / COMMIT).mkdir(parents=True)
    (hub / "blobs" / "abc").write_bytes(LARGE)
    (hub / "blobs" / "def.incomplete").write_bytes(LARGE)
    (hub / "snapshots" / COMMIT / "model.bin").symlink_to("../../blobs/abc")

    assert list(found(base)) == [f"home/.cache/huggingface/hub/models--a--b/snapshots/{COMMIT}/model.bin"]


def test_what_the_build_has_is_not_found_again(base: Path) -> None:
    for place in ("source/custom_nodes/pack/old.bin", "source/custom_nodes/pack/new.bin", "models/old.bin"):
        (base / place).write_bytes(LARGE)
    build = base.parent / "build"
    (build / "packs" / "pack" / "old.bin").write_bytes(b"as it was")
    (build / "files" / "models").mkdir(parents=True)
    (build / "files" / "models" / "old.bin").write_bytes(LARGE)

    assert list(found(base)) == ["packs/pack/new.bin"]
