"""Fetches ComfyUI and packs from their sources, into trees."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path

from comfyward.comfy.uv_command import UvFailed
from comfyward.environments import archive as archives
from comfyward.environments import git, releases, uv
from comfyward.environments.builds import Builds
from comfyward.environments.lock import LockedComfyUI, LockedPack
from comfyward.environments.needs import Needs, needs_in, needs_of
from comfyward.environments.registry import ComfyRegistry
from comfyward.environments.source import (
    ComfyUISource,
    Folder,
    Git,
    Package,
    PackSource,
    Registry,
    Release,
    checked_name,
    parse_comfyui,
    parse_pack,
)
from comfyward.environments.staging import Staging, copied
from comfyward.environments.trees import Trees, clean
from comfyward.environments.uv import Question
from comfyward.errors import InvalidEnvironment, SetupFailed

SOURCE_LIMIT_BYTES = 1 << 20  # of files that are read here


@dataclass(frozen=True)
class _Fetched:
    """Fetched files: their exact source, the name and path of their folder, and the metadata of a wheel."""

    source: PackSource | ComfyUISource
    name: str
    path: Path
    metadata: bytes | None = None


class Sources:
    """Obtains trees: from this host if it has them, else from their sources."""

    def __init__(self, trees: Trees, builds: Builds, staging: Staging, registry: ComfyRegistry) -> None:
        self._trees, self._builds, self._staging, self._registry = trees, builds, staging, registry

    def add_folder(self, path: Path) -> Folder:
        """Copies a folder or zip archive, which is then a source. Raises InvalidEnvironment."""
        with self._staging.folder() as fresh:
            name = checked_name(path.resolve().name.removesuffix(".zip"), "a pack")
            if path.is_dir():
                copied(path, fresh / name)
            elif path.is_file():
                archives.unpack(path, fresh / name)
            else:
                raise InvalidEnvironment(f"There is no folder or archive {path}.")
            return Folder(name, self._trees.add(fresh / name))

    def lock_comfyui(self, source: ComfyUISource) -> LockedComfyUI:
        """ComfyUI, with its files here. Raises SetupFailed, FetchFailed or InvalidEnvironment."""
        with self._staging.folder() as fresh:
            fetched = self._fetched(source, fresh)
            if not (fetched.path / "main.py").is_file() or not (fetched.path / "requirements.txt").is_file():
                raise InvalidEnvironment(f"There is no ComfyUI in {source}: it has no main.py or requirements.txt.")
            version = _version_in(fetched.path)
            return LockedComfyUI(version, str(fetched.source), self._added(fetched))

    def lock_pack(self, source: PackSource) -> LockedPack:
        """A pack, with its files here. Raises SetupFailed, FetchFailed or InvalidEnvironment."""
        with self._staging.folder() as fresh:
            fetched = self._fetched(source, fresh)
            needs = _needs_in(fetched)
            sha256 = _sha256_of_installer(fetched.path)
            tree = self._added(fetched)
            return LockedPack(fetched.name, str(fetched.source), tree, needs.asked, needs.ignored, sha256)

    def restore(self, locked: LockedComfyUI | LockedPack) -> Path:
        """The files of something that is locked, fetched again if they are not here or were changed.

        Raises SetupFailed if its source has other files now.
        """
        if not self._trees.has(locked.tree):
            is_pack = isinstance(locked, LockedPack)
            source = parse_pack(locked.source) if is_pack else parse_comfyui(locked.source)
            with self._staging.folder() as fresh:
                found = self._added(self._fetched(source, fresh))
            if found != locked.tree:
                raise SetupFailed(
                    f"{locked.source} has the digest {found[:12]}, but the lock says {locked.tree[:12]}: "
                    "the files have changed at their source."
                )
        return self._trees.path(locked.tree)

    def receive(self, archive: Path, tree: str) -> None:
        """Unpacks the archive of a tree that only the server has. Raises InvalidEnvironment, or SetupFailed if it holds
        another tree."""
        with self._staging.folder() as fresh:
            archives.unpack(archive, fresh / tree)
            found = self._trees.add(fresh / tree)
        if found != tree:
            raise SetupFailed(f"The server sent the files {found[:12]} in place of {tree[:12]}.")

    def file(self, locked: LockedComfyUI | LockedPack, name: str) -> bytes:
        return (self._trees.path(locked.tree) / name).read_bytes()

    def _fetched(self, source: PackSource | ComfyUISource, fresh: Path) -> _Fetched:
        try:
            match source:
                case Git():
                    pinned = git.fetch(source, fresh / source.name)
                    return _Fetched(pinned, source.name, fresh / source.name)
                case Registry():
                    self._registry.fetch(source, fresh / source.id)
                    return _Fetched(source, source.id, fresh / source.id)
                case Folder():
                    return _Fetched(source, source.name, self._found(source))
                case Release():
                    releases.fetch(source, fresh / source.name, self._neighbours())
                    return _Fetched(source, source.name, fresh / source.name)
                case Package():
                    return _unpacked(source, fresh)
        except UvFailed as failed:
            raise SetupFailed(f"{source} cannot be fetched:\n{failed}") from failed

    def _added(self, fetched: _Fetched) -> str:
        """The digest of fetched files, which are moved to the trees. Those of a folder are among them already."""
        return fetched.source.tree if isinstance(fetched.source, Folder) else self._trees.add(fetched.path)

    def _found(self, source: Folder) -> Path:
        if not self._trees.has(source.tree):
            message = f"The files of '{source.name}' are not on this host."
            raise SetupFailed(message, hint="Add its folder or archive again.")
        return self._trees.path(source.tree)

    def _neighbours(self) -> Iterator[Path]:
        """The folders of this host that hold a ComfyUI, or may: installations, builds and trees."""
        yield from self._builds.root.glob("*/ComfyUI")
        yield from self._trees.all()


def _unpacked(source: Package, fresh: Path) -> _Fetched:
    """The pack in a wheel: its only folder, or else a folder that is named after the package and holds it all."""
    (package,) = uv.resolve(Question((f"{source.name}=={source.version}",), with_dependencies=False))
    wheel, pack = fresh / "wheel", fresh / source.name
    uv.unpack_wheel(package, wheel)
    (about,) = wheel.glob("*.dist-info")
    metadata = (about / "METADATA").read_bytes()
    shutil.rmtree(about)
    for name in ("bin", ".lock"):
        path = wheel / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    clean(wheel)
    entries = list(wheel.iterdir())
    if len(entries) == 1 and entries[0].is_dir():
        pack = fresh / "pack" / entries[0].name
        pack.parent.mkdir()
        entries[0].rename(pack)
    else:
        wheel.rename(pack)
    return _Fetched(source, pack.name, pack, metadata)


def _needs_in(fetched: _Fetched) -> Needs:
    if fetched.metadata is not None:
        lines = BytesParser().parsebytes(fetched.metadata, headersonly=True).get_all("Requires-Dist", [])
        own = [(str(line), "its metadata") for line in lines if "extra ==" not in str(line)]
        return needs_in(fetched.name, own)
    files = (_content(fetched.path, name) for name in ("requirements.txt", "pyproject.toml"))
    return needs_of(fetched.name, *files)


def _sha256_of_installer(pack: Path) -> str | None:
    path = _inside(pack, "install.py")
    if path is None:
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content(folder: Path, name: str) -> bytes | None:
    """The first part of a file; None if there is none."""
    path = _inside(folder, name)
    if path is None:
        return None
    with path.open("rb") as file:
        return file.read(SOURCE_LIMIT_BYTES)


def _inside(folder: Path, name: str) -> Path | None:
    """The file of this name; None for a link that leads out: it is read before the folder is checked as a whole."""
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) and path.is_file() else None


def _version_in(comfyui: Path) -> str:
    about = _content(comfyui, "comfyui_version.py") or b""
    match = re.search(rb'__version__ = "([A-Za-z0-9.+-]{1,40})"', about)
    return match[1].decode() if match else "unknown"
