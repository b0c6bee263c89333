"""Weights: files that packs want at a place of their own, and would else fetch by themselves. `[[file]]` of a spec.

[[file]]
path = "packs/comfyui_controlnet_aux/ckpts/lllyasviel/Annotators/body.pth"
url = "https://huggingface.co/lllyasviel/Annotators/resolve/main/body.pth"
sha256 = "25a9…"             # without both of these, the file is fetched once when it is locked
size = 209267595

A path is below `models/`, below the folder of a pack, or below `home/`, ComfyUI's home folder, where libraries keep
what they fetch (`home/.cache/huggingface/hub/…`, `home/.u2net/…`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from comfyward.errors import ComfywardError, InvalidEnvironment
from comfyward.ids import is_digest
from comfyward.runs.address import parse_address
from comfyward.runs.files import check_segments

MODELS, PACKS, HOME = "models", "packs", "home"
ROOTS = (MODELS, PACKS, HOME)
KEYS = ("path", "url", "sha256", "size")
MOST, LONGEST_URL, LARGEST = 500, 2000, 1 << 44
_SNAPSHOTS = 5  # segments before a commit: home/.cache/huggingface/hub/models--NAME/snapshots


@dataclass(frozen=True)
class Weights:
    """A file at its place. Exact, as locks have it, with its `sha256` and its `size` in bytes."""

    path: str
    url: str
    sha256: str = ""
    size: int = 0

    @property
    def is_exact(self) -> bool:
        return bool(self.sha256 and self.size)

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def pack(self) -> str | None:
        """The folder of the pack in which it lies; None for a file elsewhere."""
        root, _, rest = self.path.partition("/")
        return rest.partition("/")[0] if root == PACKS else None

    @property
    def branch(self) -> tuple[str, str] | None:
        """(path, content) of the file by which huggingface_hub finds the commit in whose folder this one lies."""
        parts = self.path.split("/")
        if len(parts) < _SNAPSHOTS + 3 or parts[:4] != ["home", ".cache", "huggingface", "hub"]:
            return None
        repository, snapshots, commit = parts[4:7]
        return (f"home/.cache/huggingface/hub/{repository}/refs/main", commit) if snapshots == "snapshots" else None


def parse_weights(values: Mapping[str, Any]) -> Weights:
    """A file from its table. Raises InvalidEnvironment, naming the key."""
    path, url = _text(values, "path"), _text(values, "url")
    sha256 = values.get("sha256", "")
    size = values.get("size", 0)
    if sha256 and not (isinstance(sha256, str) and is_digest(sha256.lower())):
        raise InvalidEnvironment(f"The 'sha256' of '{path[:80]}' is not a SHA-256 digest (64 hexadecimal digits).")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= LARGEST:
        raise InvalidEnvironment(f"The 'size' of '{path[:80]}' must be a number of bytes.")
    return Weights(parse_place(path), _parse_url(path, url), sha256.lower(), size)


def parse_place(path: str) -> str:
    """A path below one of the roots. Raises InvalidEnvironment."""
    root = path.partition("/")[0]
    if root not in ROOTS:
        hint = "Paths begin with models/, packs/FOLDER/ or home/."
        raise InvalidEnvironment(f"'{path[:80]}' is outside the folders of an environment.", hint=hint)
    try:
        check_segments(path)
    except ComfywardError as error:
        raise InvalidEnvironment(error.message, hint=error.hint) from error
    if not path.isprintable():
        raise InvalidEnvironment("The path of a file contains a control character.")
    if path.count("/") < (2 if root == PACKS else 1):
        raise InvalidEnvironment(f"'{path[:80]}' names a folder, not a file.")
    return path


def check_places(files: Iterable[Weights]) -> None:
    """Raises InvalidEnvironment for too many files, for two at one place, and for one at the place of a folder."""
    places = [file.path for file in files]
    if len(places) > MOST:
        raise InvalidEnvironment(f"An environment has at most {MOST} files.")
    seen: set[str] = set()
    for place in places:
        if place in seen:
            raise InvalidEnvironment(f"The file '{place}' is there twice.")
        seen.add(place)
    for place in places:
        folder = place
        while folder := folder.rpartition("/")[0]:
            if folder in seen:
                raise InvalidEnvironment(f"'{folder}' is both a file and a folder.")


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise InvalidEnvironment(f"The '{key}' of a file must be a string.")
    return value


def _parse_url(path: str, url: str) -> str:
    try:
        address = parse_address(url)
    except ValueError as error:
        raise InvalidEnvironment(f"The 'url' of '{path[:80]}' cannot be fetched: {error}.") from error
    if len(address.url) > LONGEST_URL:
        raise InvalidEnvironment(f"The 'url' of '{path[:80]}' is longer than {LONGEST_URL} characters.")
    if address.authorization:
        hint = "A spec is shown to all admins, and kept. Put the file where it can be fetched without a password."
        raise InvalidEnvironment(f"The 'url' of '{path[:80]}' holds a password.", hint=hint)
    return address.url
