"""The exact content of an environment. A lock never changes; its digest names what is built from it.

The digest is that of the content: of files and of packages. Where they were found is not a part of it, so a mirror, or
the same commit of another repository, gives the same environment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import blake3
import msgspec

from comfyward.environments.needs import Ignored, Need
from comfyward.environments.weights import Weights
from comfyward.errors import InvalidEnvironment

FORM = 1  # of the digest and of the built folder: another form is another folder


@dataclass(frozen=True)
class LockedComfyUI:
    """ComfyUI's source. `tree` is the digest of its files."""

    version: str
    source: str  # as in a spec, with a commit in place of a branch
    tree: str


@dataclass(frozen=True)
class LockedPack:
    """A pack. `folder` is its name below custom_nodes, from which ComfyUI derives that of its modules.

    With `web` its scripts may run in the editor. That is no part of the content, and so not of the digest.
    """

    folder: str
    source: str
    tree: str
    needs: tuple[Need, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    install_script: str | None = None  # the sha256 of its install.py, which is never run
    web: bool = False


@dataclass(frozen=True)
class Wheel:
    """A file of a package."""

    file: str
    size: int
    sha256: str


@dataclass(frozen=True)
class LockedPackage:
    """A version of a package, and the wheels of it that fit the target."""

    name: str
    version: str
    wheels: tuple[Wheel, ...]


@dataclass(frozen=True)
class Lock:
    """Everything that one target gets. `forced` are the requirements that overrode what ComfyUI and packs ask for.

    `egress` are the hosts that its ComfyUI may reach: a part of the digest, by which workers tell what to start.
    """

    target: str  # platform and Python, such as linux-x86_64/py3.11
    comfyui: LockedComfyUI
    packs: tuple[LockedPack, ...]
    packages: tuple[LockedPackage, ...]
    forced: tuple[str, ...] = ()
    made_with: dict[str, str] = field(default_factory=dict)  # what resolved it, for the record
    files: tuple[Weights, ...] = ()
    egress: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """blake3 of the content, in hex: equal for equal files and packages, in any order."""
        content = {
            "form": FORM,
            "target": self.target,
            "comfyui": self.comfyui.tree,
            "packs": sorted((pack.folder, pack.tree) for pack in self.packs),
            "packages": sorted(map(_content_of, self.packages)),
            **({"files": sorted((file.path, file.sha256) for file in self.files)} if self.files else {}),
            **({"egress": sorted(self.egress)} if self.egress else {}),
        }
        return str(blake3.blake3(msgspec.json.encode(content, order="sorted")).hexdigest())


def lock_json(lock: Lock) -> str:
    """The lock as text, byte for byte the same for equal locks, in whatever order their parts were given."""
    return msgspec.json.encode(canonical(lock), order="sorted").decode()


def canonical(lock: Lock) -> Lock:
    """The lock with its packs by folder, its packages by name, and wheels by file."""
    return Lock(
        lock.target,
        lock.comfyui,
        tuple(sorted(lock.packs, key=lambda pack: pack.folder)),
        tuple(sorted(map(_ordered, lock.packages), key=lambda package: package.name)),
        tuple(sorted(lock.forced)),
        lock.made_with,
        tuple(sorted(lock.files, key=lambda file: file.path)),
        tuple(sorted(lock.egress)),
    )


def parse_lock(text: str | bytes) -> Lock:
    """A lock from its text. Raises InvalidEnvironment."""
    try:
        return msgspec.json.decode(text, type=Lock)
    except msgspec.DecodeError as error:
        raise InvalidEnvironment(f"The lock cannot be read: {error}.") from error


def _ordered(package: LockedPackage) -> LockedPackage:
    return LockedPackage(package.name, package.version, tuple(_by_file(package.wheels)))


def _by_file(wheels: Iterable[Wheel]) -> list[Wheel]:
    return sorted(wheels, key=lambda wheel: (wheel.file, wheel.sha256))


def _content_of(package: LockedPackage) -> tuple[str, str, list[str]]:
    return package.name, package.version, sorted({wheel.sha256 for wheel in package.wheels})
