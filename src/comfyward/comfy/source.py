"""The source of an official release: from a folder of this host that has it, else from ComfyUI's repository if it can
be reached, else from the package registry.

Only the files that the release names are written, each with the content that it names, so all give the same folder.
`requirements.txt` is ours, since packages are installed by our pins.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2

from comfyward.comfy import uv_command
from comfyward.comfy.releases import Release
from comfyward.comfy.uv_command import UvFailed
from comfyward.errors import SetupFailed

log = logging.getLogger(__name__)

REACH_TIMEOUT_S = 5.0  # after which a repository that answers nothing is left for the registry
GIT_TIMEOUT_S = 180.0
HTTP_TIMEOUT_S = 60.0
_GIT = ("git", "-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=10")
# For a Python that need not be ours: some distributions ask for a newer one than ComfyUI does. No code runs by it, and
# uv is given ours: it would look for that one on the whole host, and fetch it.
_LIST = (
    *("pip", "compile", "--quiet", "--no-header", "--no-deps", "--no-sources", "--python-version", "3.12"),
    *("--python", sys.executable, "--format", "pylock.toml"),
)
_PIN = re.compile(r"^([A-Za-z0-9._-]+==\S+) \\\n\s*--hash=sha256:([0-9a-f]{64})$", re.MULTILINE)


def put_source(release: Release, folder: Path, neighbours: Iterable[Path] = ()) -> None:
    """Writes the source of a release to a new folder. `neighbours` may have it already. Raises SetupFailed."""
    found = next(filter(None, (_read(release, neighbour) for neighbour in neighbours)), None)
    if found is not None:
        for path, content in found.items():
            _write(folder / path, content)
    else:
        _fetch_source(release, folder)
    shutil.copyfile(release.requirements, folder / "requirements.txt")


def _read(release: Release, neighbour: Path) -> dict[str, bytes] | None:
    """The files of the release, by path, from a folder that has all of them unchanged; None from any other."""
    found = {}
    with contextlib.suppress(OSError):
        for path, digest in release.files.items():
            found[path] = (neighbour / path).read_bytes()
            if _digest_of(found[path]) != digest:
                return None
        return found
    return None


def _fetch_source(release: Release, folder: Path) -> None:
    with TemporaryDirectory(dir=folder.parent) as scratch:
        archive = _from_repository(release, Path(scratch))
        if archive is not None:
            _unpack(release, archive, "", folder)
        else:
            _unpack(release, _from_registry(release, Path(scratch)), f"{release.inside}/", folder)


def _from_repository(release: Release, scratch: Path) -> Path | None:
    """An archive of the release's commit; None if it has none, or its repository cannot be reached."""
    if release.commit is None or shutil.which("git") is None:
        return None
    repository, archive = scratch / "repository", scratch / "commit.tar"
    steps = (
        (REACH_TIMEOUT_S, "ls-remote", "--quiet", release.repository, "HEAD"),
        (GIT_TIMEOUT_S, "init", "--quiet", "--bare", str(repository)),
        (GIT_TIMEOUT_S, "-C", str(repository), "fetch", "--quiet", "--depth=1", release.repository, release.commit),
        (GIT_TIMEOUT_S, "-C", str(repository), "archive", "--format=tar", f"--output={archive}", release.commit),
    )
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    try:
        for timeout_s, *step in steps:
            subprocess.run([*_GIT, *step], env=environment, capture_output=True, check=True, timeout=timeout_s)
    except (subprocess.SubprocessError, OSError) as error:
        log.debug("ComfyUI %s is not taken from %s: %s", release.version, release.repository, error)
        return None
    return archive


def _from_registry(release: Release, scratch: Path) -> Path:
    """The distribution that carries the release. It is read as an archive: none of its code runs."""
    pin = _PIN.search(release.source.read_text())
    assert pin is not None
    requirement, digest = pin.groups()
    try:
        url = _url_of(requirement, digest, scratch)
        with httpx2.Client(follow_redirects=True, timeout=HTTP_TIMEOUT_S) as client:
            archive = _fetch(client, url, scratch)
    except (httpx2.HTTPError, UvFailed) as error:
        raise SetupFailed(
            f"ComfyUI {release.version} could not be fetched: {error}", hint="Check the network, then try again."
        ) from error
    _check(release, archive.name, archive.read_bytes(), digest)
    return archive


def _url_of(requirement: str, digest: str, scratch: Path) -> str:
    """The URL of a distribution's file in the package index, whichever uv is set up for. Raises UvFailed, SetupFailed.

    uv would build a source distribution to read its metadata, so it is asked for wheels first, and then for everything,
    of which it may know only what the first call has fetched.
    """
    asked, listed = scratch / "asked.in", scratch / "pylock.toml"
    asked.write_text(f"{requirement}\n")
    for limit in ("--no-build", "--offline"):
        listed.unlink(missing_ok=True)
        uv_command.run(*_LIST, limit, "--cache-dir", str(scratch / "cache"), str(asked), "-o", str(listed))
    (package,) = tomllib.loads(listed.read_text())["packages"]
    files = (*package.get("wheels", ()), package.get("sdist", {}))
    urls = [str(file["url"]) for file in files if "url" in file and file["hashes"]["sha256"] == digest]
    if not urls:
        raise SetupFailed(
            f"The package index has no file of {requirement} with the digest {digest[:8]}….",
            hint="Use an index that mirrors the public one, or your own ComfyUI: COMFYWARD_COMFYUI.",
        )
    return urls[0]


def _fetch(client: httpx2.Client, url: str, scratch: Path) -> Path:
    path = scratch / url.rpartition("/")[2]
    with client.stream("GET", url) as answer, path.open("wb") as file:
        answer.raise_for_status()
        for part in answer.iter_bytes():
            file.write(part)
    return path


def _unpack(release: Release, archive: Path, inside: str, folder: Path) -> None:
    wanted = release.files
    for name, content in _contents(archive, {f"{inside}{path}" for path in wanted}):
        path = name.removeprefix(inside)
        _check(release, path, content, wanted.pop(path))
        _write(folder / path, content)
    if wanted:
        raise SetupFailed(f"ComfyUI {release.version} lacks {min(wanted)} at its source.")


def _contents(archive: Path, names: set[str]) -> Iterator[tuple[str, bytes]]:
    """The files of these names in an archive."""
    with _opened(archive) as opened:
        if isinstance(opened, zipfile.ZipFile):
            yield from ((name, opened.read(name)) for name in opened.namelist() if name in names)
            return
        for member in opened:
            file = opened.extractfile(member) if member.isfile() and member.name in names else None
            if file is not None:
                yield member.name, file.read()


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield packed
    else:
        with tarfile.open(archive) as tar:
            yield tar


def _check(release: Release, name: str, content: bytes, digest: str) -> None:
    found = _digest_of(content)
    if found != digest:
        raise SetupFailed(
            f"{name} of ComfyUI {release.version} has the digest {found[:8]}…, the release has {digest[:8]}…: "
            "the file was changed at its source."
        )


def _digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
