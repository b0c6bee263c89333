"""Packages of environments: one that would have to be built is refused and runs no code, and so is one whose bytes are
not those of the lock."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from comfyward.comfy.uv_command import UvFailed
from comfyward.environments import uv
from comfyward.environments.lock import LockedPackage, Wheel
from comfyward.environments.uv import Question
from tests.fakes.http import Content, Origin

WHEEL = "painted_nodes-1.0-py3-none-any.whl"


@pytest.fixture(autouse=True)
def _index(site: Origin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"{site.url}/simple/")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))


def test_a_package_that_has_to_be_built_is_refused_and_not_run(site: Origin, tmp_path: Path) -> None:
    trace = tmp_path / "was-here"
    _offer(site, "painted_nodes-1.0.tar.gz", _source(f"open({str(trace)!r}, 'w')"))

    with pytest.raises(UvFailed):
        uv.resolve(Question(("painted-nodes==1.0",)))
    with pytest.raises(UvFailed):
        _install(tmp_path, hashlib.sha256(site.files["/files/painted_nodes-1.0.tar.gz"].data).hexdigest())

    assert not trace.exists()


def test_a_package_of_other_bytes_than_the_locks_is_refused(
    site: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _offer(site, WHEEL, _wheel("as it was"))
    [locked] = uv.resolve(Question(("painted-nodes==1.0",)))
    _offer(site, WHEEL, _wheel("as it is by now"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache of another host"))  # what has the lock's bytes is taken

    with pytest.raises(UvFailed):
        _install(tmp_path, locked.wheels[0].sha256)

    assert list((tmp_path / "environment").rglob("painted_nodes*")) == []


def test_a_package_of_the_locks_bytes_is_installed(site: Origin, tmp_path: Path) -> None:
    _offer(site, WHEEL, _wheel("as it was"))
    [locked] = uv.resolve(Question(("painted-nodes==1.0",)))

    _install(tmp_path, locked.wheels[0].sha256)

    [module] = (tmp_path / "environment").rglob("painted_nodes.py")
    assert "as it was" in module.read_text()


def _install(tmp_path: Path, sha256: str) -> None:
    python = uv.create(tmp_path / "environment")
    uv.install(python, [LockedPackage("painted-nodes", "1.0", (Wheel(WHEEL, 1, sha256),))], lambda *_: None)


def _offer(site: Origin, file: str, data: bytes) -> None:
    """Has the index offer one file of the package."""
    link = f'<a href="../../files/{file}">{file}</a>'
    site.files["/simple/painted-nodes/"] = Content(link.encode(), headers={"content-type": "text/html"})
    site.put(f"/files/{file}", data)


def _source(code: str) -> bytes:
    """A source package whose setup.py executes some code."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        texts = {"setup.py": code, "PKG-INFO": "Metadata-Version: 2.1\nName: painted-nodes\nVersion: 1.0\n"}
        for name, text in texts.items():
            entry = tarfile.TarInfo(f"painted_nodes-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def _wheel(text: str) -> bytes:
    packed, about = io.BytesIO(), "painted_nodes-1.0.dist-info"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("painted_nodes.py", f"SAYS = {text!r}\n")
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: painted-nodes\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(
            f"{about}/RECORD", f"painted_nodes.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n"
        )
    return packed.getvalue()
