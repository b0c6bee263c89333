"""Web files: of packs, for ComfyUI's editor. They are those of their web folders, and answers of their routes.

One archive holds them all. It is a message, not a file system: a list of paths and bytes, in one order, so that it has
no links, no folders and one digest. Whoever made it is not to be trusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated

import msgspec
from msgspec import Meta

from comfyward.errors import InvalidRequest

MAX_FILES, MAX_FILE_BYTES = 3000, 4 << 20
MAX_ANSWERS, MAX_ANSWER_BYTES = 200, 256 << 10  # of routes
MAX_BYTES = 24 << 20
MAX_PATH = 300
EXTENSIONS = "/extensions/"  # below which ComfyUI serves web folders
SCRIPTS = (".js", ".mjs")
OCTET_STREAM = "application/octet-stream"

# Nothing else has a type that a browser shows as a page or runs.
TYPES: Mapping[str, str] = {
    **dict.fromkeys(SCRIPTS, "text/javascript"),
    ".css": "text/css",
    ".json": "application/json",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
}
_KNOWN = {*TYPES.values()}
_SAME = {"application/javascript": "text/javascript"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


class WebFile(msgspec.Struct, frozen=True, array_like=True):
    """A file, or the answer of a route: `path` is where ComfyUI serves it, `pack` the folder of its pack.

    `answered` is the media type of an answer, "" for a file.
    """

    path: Annotated[str, Meta(max_length=MAX_PATH)]
    pack: Annotated[str, Meta(max_length=200)]
    content: Annotated[bytes, Meta(max_length=MAX_FILE_BYTES)]
    answered: Annotated[str, Meta(max_length=200)] = ""

    @property
    def media_type(self) -> str:
        """Its type by its name, or else the one that its route gave it, where we know that one."""
        told = self.answered.partition(";")[0].strip().lower()
        told = _SAME.get(told, told)
        by_name = TYPES.get(PurePosixPath(self.path).suffix.lower())
        return by_name or (told if told in _KNOWN else OCTET_STREAM)


def is_script(path: str) -> bool:
    """True for what the editor imports when it starts."""
    return path.startswith(EXTENSIONS) and path.endswith(".js")


def is_plain(path: str) -> bool:
    """True for an absolute path without anything that leads elsewhere."""
    parts = path.split("/")
    return (
        len(path) <= MAX_PATH
        and len(parts) > 1
        and parts[0] == ""
        and all(part not in ("", ".", "..") for part in parts[1:])
        and _CONTROL.search(path) is None
    )


def packed(files: Iterable[WebFile]) -> bytes:
    """The archive of files, the same for equal files in whatever order they are given."""
    return msgspec.msgpack.encode(sorted(files, key=lambda file: file.path))


def unpacked(archive: bytes) -> Sequence[WebFile]:
    """The files of an archive, by path. Raises InvalidRequest for anything that `packed` does not make."""
    if len(archive) > MAX_BYTES:
        raise _refused(f"it has more than {MAX_BYTES >> 20} MiB")
    try:
        files = msgspec.msgpack.decode(archive, type=list[WebFile])
    except (msgspec.DecodeError, RecursionError) as error:
        raise _refused(str(error)) from error
    answers = [file for file in files if file.answered]
    if len(files) > MAX_FILES + MAX_ANSWERS or len(answers) > MAX_ANSWERS:
        raise _refused(f"it has {len(files)} files")
    if any(len(file.content) > MAX_ANSWER_BYTES for file in answers):
        raise _refused("the answer of a route is too long")
    for file in files:
        if not is_plain(file.path):
            raise _refused(f"{file.path!r} is no plain path")
    paths = [file.path for file in files]
    if paths != sorted(set(paths)):
        raise _refused("its files are not in order")
    return files


def _refused(reason: str) -> InvalidRequest:
    return InvalidRequest(f"The web files cannot be taken: {reason}.")
