"""The source of a release: both places that have it give the same folder, and a changed file is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from comfyward.comfy import install, source
from comfyward.comfy.install import chosen
from comfyward.comfy.releases import DEFAULT, RELEASES, Release, release_of
from comfyward.comfy.source import put_source
from comfyward.errors import SetupFailed
from tests.fakes.http import Content, Origin

FILES = {"main.py": b"print('ready')\n", "comfy/text encoders/words.json": b"{}", "comfyui_version.py": b"1.0\n"}
MORE = {"requirements.txt": b"torch\n", ".github/workflows/build.yml": b"on: push\n"}
INSIDE = "carrier-2.0/vendor/ComfyUI"
WHEEL = "carrier-2.0-py3-none-any.whl"


@pytest.fixture
def release(tmp_path: Path, site: Origin, monkeypatch: pytest.MonkeyPatch) -> Release:
    """Version 1.0, carried by the package `carrier` of an index of our own; its repository does not exist."""
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"{site.url}/simple/")
    folder = tmp_path / "pins" / "1.0"
    folder.mkdir(parents=True)
    lines = [f"{hashlib.sha256(content).hexdigest()}  {path}\n" for path, content in FILES.items()]
    (folder / "files.txt").write_text("".join(lines))
    (folder / "requirements.in").write_text("torch==2.9.1\n")
    made = Release("1.0", INSIDE, "0" * 40, str(tmp_path / "no repository"), folder.parent)
    carry(made, site, tarball({**FILES, **MORE}))
    return made


def carry(release: Release, site: Origin, archive: bytes, named: str = "carrier-2.0.tar.gz", pin: str = "") -> None:
    """Puts the distribution into the index, beside a wheel of other content, and its hash into the release."""
    digest = pin or hashlib.sha256(archive).hexdigest()
    release.source.write_text(f"# The package.\ncarrier==2.0 \\\n    --hash=sha256:{digest}\n")
    index(site, {WHEEL: (wheel({}), ""), named: (archive, digest)})


def index(site: Origin, files: dict[str, tuple[bytes, str]]) -> None:
    links = []
    for name, (content, digest) in files.items():
        site.files[f"/files/{name}"] = Content(content)
        links.append(f'<a href="../../files/{name}#sha256={digest or hashlib.sha256(content).hexdigest()}">{name}</a>')
    site.files["/simple/carrier/"] = Content("\n".join(links).encode(), headers={"content-type": "text/html"})


def wheel(files: dict[str, bytes]) -> bytes:
    about = {
        "METADATA": b"Metadata-Version: 2.1\nName: carrier\nVersion: 2.0\n",
        "WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": b"",
    }
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for path, content in {
            **files,
            **{f"carrier-2.0.dist-info/{name}": each for name, each in about.items()},
        }.items():
            archive.writestr(path, content)
    return written.getvalue()


def tarball(files: dict[str, bytes], inside: str = INSIDE) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(f"{inside}/{path}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return written.getvalue()


def committed(release: Release, folder: Path, files: dict[str, bytes]) -> Release:
    """The release with a repository that has its commit."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for step in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-qm", "Version 1.0"]):
        subprocess.run([*git, *step], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    return replace(release, commit=commit, repository=str(folder))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_repository_and_the_registry_give_the_same_folder(release: Release, site: Origin, tmp_path: Path) -> None:
    put_source(release, tmp_path / "registry")
    assert site.requests
    site.requests.clear()
    put_source(committed(release, tmp_path / "repository", {**FILES, **MORE}), tmp_path / "git")

    assert files_of(tmp_path / "git") == {**FILES, "requirements.txt": b"torch==2.9.1\n"}
    assert files_of(tmp_path / "registry") == files_of(tmp_path / "git")
    assert not site.requests


def test_a_repository_that_answers_nothing_is_left_for_the_registry(
    release: Release, site: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "REACH_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        unheard = replace(release, repository=f"http://127.0.0.1:{silent.getsockname()[1]}/ComfyUI")

        put_source(unheard, tmp_path / "ComfyUI")

        silent.accept()[0].close()  # it was asked
    assert site.requests


def test_a_folder_of_this_host_that_has_a_release_unchanged_is_copied(
    release: Release, site: Origin, tmp_path: Path
) -> None:
    put_source(release, tmp_path / "first")
    for name in ("first", "changed", "partial"):
        if name != "first":
            shutil.copytree(tmp_path / "first", tmp_path / name)
        (tmp_path / name / "left by somebody.txt").write_text("")
    (tmp_path / "changed" / "main.py").write_text("print('changed')")
    (tmp_path / "partial" / "main.py").unlink()
    neighbours = [tmp_path / name for name in ("none", "partial", "changed", "first")]
    site.requests.clear()

    put_source(release, tmp_path / "again", neighbours)
    assert files_of(tmp_path / "again") == {**FILES, "requirements.txt": b"torch==2.9.1\n"}
    assert not site.requests

    put_source(release, tmp_path / "fetched", neighbours[:-1])
    assert files_of(tmp_path / "fetched") == files_of(tmp_path / "again")
    assert site.requests


def test_a_wheel_carries_a_release_too(release: Release, site: Origin, tmp_path: Path) -> None:
    carry(release, site, wheel({f"{INSIDE}/{path}": content for path, content in FILES.items()}), WHEEL)

    put_source(release, tmp_path / "ComfyUI")

    assert files_of(tmp_path / "ComfyUI").keys() == {*FILES, "requirements.txt"}


def test_a_file_that_was_changed_in_the_repository_is_refused(release: Release, tmp_path: Path) -> None:
    changed = committed(release, tmp_path / "repository", {**FILES, "main.py": b"import antigravity\n"})

    with pytest.raises(SetupFailed, match=r"main\.py of ComfyUI 1\.0 has the digest .* changed at its source"):
        put_source(changed, tmp_path / "ComfyUI")


def test_an_archive_that_was_changed_in_the_registry_is_refused(release: Release, site: Origin, tmp_path: Path) -> None:
    pin = hashlib.sha256(b"what the release names").hexdigest()
    carry(release, site, tarball(FILES), pin=pin)

    with pytest.raises(SetupFailed, match=r"carrier-2\.0\.tar\.gz of ComfyUI 1\.0 has the digest"):
        put_source(release, tmp_path / "ComfyUI")


def test_an_archive_that_lacks_a_file_is_refused(release: Release, site: Origin, tmp_path: Path) -> None:
    carry(release, site, tarball({path: content for path, content in FILES.items() if path != "main.py"}))

    with pytest.raises(SetupFailed, match=r"lacks main\.py"):
        put_source(release, tmp_path / "ComfyUI")


def test_an_index_without_the_distribution_is_named(release: Release, site: Origin, tmp_path: Path) -> None:
    index(site, {WHEEL: (wheel({}), "")})

    with pytest.raises(SetupFailed, match="no file of carrier"):
        put_source(release, tmp_path / "ComfyUI")


def test_a_distribution_is_never_built(release: Release, site: Origin, tmp_path: Path) -> None:
    built = tmp_path / "built"
    project = b"[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    backend = f"open({str(built)!r}, 'w')\n".encode()
    distribution = tarball({"pyproject.toml": project, "backend.py": backend}, "carrier-2.0")
    carry(release, site, distribution)
    index(site, {"carrier-2.0.tar.gz": (distribution, "")})

    with pytest.raises(SetupFailed, match="could not be fetched"):
        put_source(release, tmp_path / "ComfyUI")

    assert not built.exists()


def test_no_other_python_is_looked_for(release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """uv would ask those of the host one after the other, and then fetch one."""
    asked, programs = tmp_path / "asked", tmp_path / "programs"
    programs.mkdir()
    for name in ("python", "python3", "python3.12"):
        (programs / name).write_text(f"#!/bin/sh\ntouch '{asked}'\nexit 1\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    put_source(release, tmp_path / "ComfyUI")

    assert not asked.exists()


def test_nothing_but_a_listed_path_is_written(release: Release, site: Origin, tmp_path: Path) -> None:
    carry(release, site, tarball({**FILES, "../../../../outside.py": b"", "comfy/more.py": b""}))

    put_source(release, tmp_path / "ComfyUI")

    assert files_of(tmp_path / "ComfyUI").keys() == {*FILES, "requirements.txt"}
    assert not list(tmp_path.rglob("outside.py"))


@pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)
def test_the_pins_of_every_release_are_complete(release: Release) -> None:
    files = release.files

    assert {"main.py", "comfyui_version.py", "custom_nodes/websocket_image_save.py"} <= files.keys()
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in files.values())
    assert not [path for path in files if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts]
    assert "requirements.txt" not in files
    assert re.search(r"^torch==", release.packages.read_text(), re.MULTILINE)
    assert "comfyui-frontend-package==" in release.editor.read_text()


def installed(environments: Path, release: Release, at: int | None) -> None:
    """At a time in milliseconds, which was not recorded at first."""
    pins = hashlib.sha256(release.packages.read_bytes() + release.source.read_bytes()).hexdigest()[:8]
    root = environments / f"comfyui-{release.version}-{pins}"
    root.mkdir()
    (root / "installed.json").write_text(json.dumps({"bytecode": True} | ({} if at is None else {"installed_at": at})))


def test_folders_that_earlier_versions_installed_are_still_found(tmp_path: Path) -> None:
    root = tmp_path / "comfyui-0.3.75-c123959d"
    root.mkdir()
    (root / "installed.json").write_text('{"comfyui": "0.3.75", "pins": "c123959d", "bytecode": true}')

    assert chosen(tmp_path, None).version == "0.3.75"
    assert install.installed(tmp_path, RELEASES["0.3.75"]) is not None


def test_the_default_is_current() -> None:
    assert list(RELEASES.values())[-1] == DEFAULT


@pytest.mark.parametrize("at", [None, 1])
@pytest.mark.parametrize("first", RELEASES.values(), ids=RELEASES)
def test_the_release_that_was_installed_first_is_kept(tmp_path: Path, first: Release, at: int | None) -> None:
    assert chosen(tmp_path, None) == DEFAULT

    installed(tmp_path, first, at)
    assert chosen(tmp_path, None) == first

    for other in RELEASES.values():
        if other != first:
            installed(tmp_path, other, 2)
    assert chosen(tmp_path, None) == first
    assert all(chosen(tmp_path, version) == release for version, release in RELEASES.items())


def test_of_two_from_before_times_were_recorded_the_former_default_is_kept(tmp_path: Path) -> None:
    for release in RELEASES.values():
        installed(tmp_path, release, None)

    assert chosen(tmp_path, None).version == "0.3.75"


def test_a_version_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(SetupFailed) as refused:
        release_of("9.9")

    assert str(refused.value) == "ComfyUI 9.9 cannot be installed by name."
    assert refused.value.hint is not None
    assert all(version in refused.value.hint for version in RELEASES)
    assert release_of("v0.30.0").version == "0.30.0"
