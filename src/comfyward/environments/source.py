"""The source of a pack or of ComfyUI, as one line of text: a closed union.

cnr:ID@VERSION          the Comfy Registry
git+URL@COMMIT          a git repository; a branch or tag becomes a commit when it is locked
pypi:NAME==VERSION      a package of the Python index
folder:NAME@TREE        a folder or zip archive that was copied when it was added, named by the digest of its files
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from comfyward.errors import InvalidEnvironment

COMFYUI = "https://github.com/Comfy-Org/ComfyUI"
FORMS = "cnr:ID@VERSION, git+URL@COMMIT, pypi:NAME==VERSION, or the path of a folder or zip archive"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]{0,59}")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_TREE = re.compile(r"[0-9a-f]{64}")
_COMFYUI_OWNERS = ("comfy-org", "comfyanonymous")  # the present one and the former one
MAX_URL_LENGTH = 2000

S = TypeVar("S", "Registry", "Package", "Folder")


@dataclass(frozen=True)
class Registry:
    """A version of a pack in the Comfy Registry."""

    id: str
    version: str

    def __str__(self) -> str:
        return f"cnr:{self.id}@{self.version}"

    @property
    def name(self) -> str:
        return self.id


@dataclass(frozen=True)
class Git:
    """A commit of a repository, or a branch or tag that names one."""

    url: str
    ref: str

    def __str__(self) -> str:
        return f"git+{self.url}@{self.ref}"

    @property
    def name(self) -> str:
        """The repository's own name, which ComfyUI shows as the pack's."""
        return urlsplit(self.url).path.rstrip("/").rpartition("/")[2].removesuffix(".git")

    @property
    def is_commit(self) -> bool:
        return is_commit(self.ref)


@dataclass(frozen=True)
class Package:
    """A version of a package of the Python index, whose wheel holds the pack."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"pypi:{self.name}=={self.version}"


@dataclass(frozen=True)
class Folder:
    """A folder that was copied when it was added."""

    name: str
    tree: str

    def __str__(self) -> str:
        return f"folder:{self.name}@{self.tree}"


@dataclass(frozen=True)
class Release:
    """An official release of ComfyUI."""

    version: str

    def __str__(self) -> str:
        return self.version

    @property
    def name(self) -> str:
        return "ComfyUI"


PackSource = Registry | Git | Package | Folder
ComfyUISource = Release | Git | Folder


def parse_pack(text: str) -> PackSource:
    """The source that a line names. Raises InvalidEnvironment."""
    found = _parse(text.strip())
    if found is None:
        raise InvalidEnvironment(f"'{text}' is not the source of a pack.", hint=f"Use {FORMS}.")
    return found


def parse_comfyui(text: str) -> ComfyUISource:
    """A release such as 0.30.0, or a git or folder source. Raises InvalidEnvironment."""
    stripped = text.strip()
    if re.fullmatch(r"v?\d+(\.\d+){1,3}", stripped):
        return Release(stripped.removeprefix("v"))
    match _parse(stripped):
        case Git() | Folder() as source:
            return source
        case _:
            message = f"'{text}' is not a source of ComfyUI."
            raise InvalidEnvironment(message, hint="Use a version such as 0.30.0, git+URL@COMMIT, or a path.")


def is_commit(ref: str) -> bool:
    """True for the full digest of a commit; a branch or tag may lead elsewhere tomorrow."""
    return _COMMIT.fullmatch(ref) is not None


def is_official(url: str) -> bool:
    """True for the address of ComfyUI's own repository, at either of its owners."""
    address = url.casefold().rstrip("/").removesuffix(".git")
    return address in [f"https://github.com/{owner}/comfyui" for owner in _COMFYUI_OWNERS]


def checked_name(name: str, what: str) -> str:
    """A name that is safe as a folder's and in a URL. Raises InvalidEnvironment."""
    if not _NAME.fullmatch(name):
        raise InvalidEnvironment(
            f"'{name}' cannot be the name of {what}.", hint="Use letters, digits, '.', '_' and '-'."
        )
    return name


def _parse(text: str) -> PackSource | None:
    kind, _, rest = text.partition(":")
    match kind:
        case "cnr":
            return _named(rest, "@", Registry, _VERSION)
        case "pypi":
            return _named(rest, "==", Package, _VERSION)
        case "folder":
            return _named(rest, "@", Folder, _TREE)
        case "git+http" | "git+https":
            return _git(text.removeprefix("git+"))
        case _:
            return None


def _named(text: str, separator: str, make: type[S], second: re.Pattern[str]) -> S | None:
    name, found, version = text.partition(separator)
    is_valid = found and _NAME.fullmatch(name) and second.fullmatch(version)
    return make(name, version) if is_valid else None


def _git(text: str) -> Git | None:
    url, found, ref = text.rpartition("@")
    try:
        parts = urlsplit(url)
    except ValueError:  # such as a bracket that no address of IPv6 follows
        return None
    if not found or "/" not in parts.path or not _REF.fullmatch(ref) or ".." in ref:
        return None
    if parts.username is not None or parts.password is not None:
        raise InvalidEnvironment(
            f"The address of '{parts.hostname}' holds a login, which everybody who sees the environment would see.",
            hint="Clone the repository, and add its folder.",
        )
    source = Git(url, ref)
    return source if len(url) <= MAX_URL_LENGTH and parts.hostname and _NAME.fullmatch(source.name) else None
