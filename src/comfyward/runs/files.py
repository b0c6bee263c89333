"""The files that a run brings: their paths below ComfyUI's folders, and their sources."""

from __future__ import annotations

import json
import mimetypes
import posixpath
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import blake3

from comfyward.errors import InvalidPath, InvalidRequest, InvalidUrl
from comfyward.ids import is_digest
from comfyward.runs.address import parse_address
from comfyward.runs.data_url import is_data_url, parse_data_url

ROOTS = ("input", "models")
MAX_PATH_LENGTH = 1024
MAX_SEGMENT_BYTES = 255
MAX_URL_LENGTH = 8192
MAX_FILES = 500
MAX_MEDIA_TYPE = 200


# The standard library's own list, the same on every host, and what it does not know.
_TYPES = mimetypes.MimeTypes()
for _type, _suffix in (
    ("image/webp", ".webp"),
    ("image/avif", ".avif"),
    ("audio/flac", ".flac"),
    ("audio/ogg", ".opus"),
    ("model/gltf-binary", ".glb"),
    ("video/webm", ".webm"),
    ("text/plain", ".srt"),
    ("application/x-safetensors", ".safetensors"),
):
    _TYPES.add_type(_type, _suffix)

# Types that a browser shows without running anything in them; all others are downloads.
_SHOWN = re.compile(r"(image/(?!svg)|video/|audio/|text/plain$|application/json$|application/pdf$)")

# What only a site of models can read: Hugging Face's paths and Civitai's URNs, and their hosts without a scheme.
_OF_A_SITE = re.compile(
    r"hf://|(?:urn:)?(?:air:)?(?:[\w.*-]+:){0,2}(?:civitai|huggingface):[^/\s]"
    r"|(?:www\.)?(?:huggingface\.co|hf\.co|civitai\.(?:com|green|red))/",
    re.IGNORECASE,
)
_HEADER_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)


def content_type_of(path: str) -> str:
    """The media type that a file's name implies."""
    suffix = posixpath.splitext(path)[1]  # alone: the standard library would read some names as URLs
    return _TYPES.guess_type(f"file{suffix}")[0] or "application/octet-stream"


def media_type_of(text: str) -> str:
    """A given media type if it is valid in a header, else `application/octet-stream`."""
    is_plain = "/" in text and text.isascii() and text.isprintable() and len(text) <= MAX_MEDIA_TYPE
    return text if is_plain else "application/octet-stream"


def disposition_of(content_type: str, path: str) -> str:
    """The Content-Disposition of a file: inline if nothing in it can run, else an attachment."""
    kind = "inline" if _SHOWN.match(content_type) else "attachment"
    return disposition(kind, path.rpartition("/")[2])


def disposition(kind: str, name: str) -> str:
    """A Content-Disposition with the name in ASCII, followed by the exact name if that differs (RFC 6266, RFC 8187).

    Some clients of ComfyUI take all that follows the first `=` as the name.
    """
    plain = re.sub(r"[^A-Za-z0-9._ ()-]", "_", name)
    if plain == name:
        return f'{kind}; filename="{name}"'
    exact = quote(name, safe="!#$&+-.^_`|~")
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{exact}"


@dataclass(frozen=True)
class Url:
    """A file to fetch. `digest` is a blake3 or sha256 to check; headers are sent to the URL's own host only."""

    url: str
    digest: str | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # often secrets


@dataclass(frozen=True)
class Stored:
    """A blob in the object store, by its blake3 digest."""

    digest: str
    size: int


@dataclass(frozen=True)
class Inline:
    """Bytes that were sent with the request as a `data:` URL."""

    data: bytes
    content_type: str


Source = Url | Stored | Inline


def is_address(text: str) -> bool:
    """True for a source that is fetched or inline, and not the path of somebody's own file."""
    return text.startswith(("http://", "https://")) or is_data_url(text) or _OF_A_SITE.match(text) is not None


def key_of(source: Url) -> str:
    """A key for the contents of a URL with these headers, used by caches and mirrors."""
    text = json.dumps([source.url, sorted(source.headers)])
    return blake3.blake3(text.encode()).hexdigest()[:40]


def parse_path(text: object) -> str:
    """The canonical path, `/input/…` or `/models/…`. Raises InvalidPath with the reason."""
    if not isinstance(text, str) or not text:
        raise InvalidPath("A path in 'files' is empty.")
    path = text.removeprefix("/")
    if path.replace("\\", "/").startswith("models/"):
        path = path.replace("\\", "/")  # as ComfyUI on Windows writes the names of models
    segments = path.split("/")
    if segments[0] not in ROOTS:
        raise InvalidPath(f"'{text[:80]}' is outside /input and /models.", path=text)
    if len(segments) < 2 or (segments[0] == "models" and len(segments) < 3):
        raise InvalidPath(f"'{text[:80]}' names a folder, not a file.", path=text)
    check_segments(path)
    return f"/{path}"


def check_segments(text: str) -> None:
    """Raises InvalidPath unless a relative path stays below its folder and is a valid file name.

    Nothing else is refused: ComfyUI accepts every name that a file system does.
    """
    hint = "Use a relative path of plain names, such as folder/name.png."
    if len(text) > MAX_PATH_LENGTH:
        raise InvalidPath(f"A path is longer than {MAX_PATH_LENGTH} characters.", hint=hint, path=text)
    if "\0" in text or not _is_unicode(text):
        raise InvalidPath("A path holds a character that no name of a file may hold.", hint=hint, path=repr(text))
    for segment in text.split("/"):
        if segment in ("", ".", ".."):
            raise InvalidPath(f"'{text[:80]}' holds an empty, '.' or '..' segment.", hint=hint, path=text)
        if len(segment.encode()) > MAX_SEGMENT_BYTES:
            message = f"A segment of '{text[:80]}…' is longer than {MAX_SEGMENT_BYTES} bytes."
            raise InvalidPath(message, hint=hint)


def _is_unicode(text: str) -> bool:
    """True if a string can be encoded: JSON may hold lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_source(path: str, value: object) -> Source:
    """The source of a file: a URL string, or {url, digest, headers}."""
    if isinstance(value, str):
        return _parse_inline(path, value) if is_data_url(value) else _parse_url(path, value)
    if not isinstance(value, dict):
        raise InvalidUrl(f"The value of '{path}' in 'files' must be a URL or an object with a url.", path=path)
    unknown = set(value) - {"url", "digest", "headers"}
    if unknown:
        raise InvalidRequest(
            f"Unknown field '{min(unknown)}' for '{path}' in 'files'.", hint="Known: url, digest, headers."
        )
    source = parse_source(path, value.get("url", ""))
    if not isinstance(source, Url):
        return source
    headers = _parse_headers(path, value.get("headers"))
    if not any(name.lower() == "authorization" for name, _ in headers):
        headers = tuple(sorted((*headers, *source.headers)))
    return Url(source.url, _parse_digest(path, value.get("digest")), headers)


def parse_files(value: object) -> dict[str, Source]:
    """The sources in the `files` of a request, by path."""
    if value is None or value == []:  # an empty object as PHP writes it
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest("'files' must be an object of paths and URLs.")
    if len(value) > MAX_FILES:
        raise InvalidRequest(f"'files' has more than {MAX_FILES} entries.")
    files: dict[str, Source] = {}
    for key, source in value.items():
        path = parse_path(key)
        if path in files:
            raise InvalidPath(f"'{path}' is given twice.", path=path)
        files[path] = parse_source(path, source)
    _refuse_nesting(files)
    return files


def parse_import(path: object, value: object) -> tuple[str, Url]:
    """The source of an import, in the form of an entry of `files`. Raises InvalidUrl."""
    [(parsed, source)] = parse_files({path: value}).items()
    if not isinstance(source, Url):
        raise InvalidUrl("Only an http:// or https:// URL can be fetched.")
    return parsed, source


def source_to_row(source: Url | Stored) -> dict[str, Any]:
    """The JSON form of a source in the run's row."""
    match source:
        case Url(url, digest, headers):
            row: dict[str, Any] = {"url": url}
            if digest:
                row["digest"] = digest
            if headers:
                row["headers"] = dict(headers)
            return row
        case Stored(digest, size):
            return {"blob": digest, "size": size}


def source_from_row(row: dict[str, Any]) -> Url | Stored:
    if "blob" in row:
        return Stored(row["blob"], row["size"])
    return Url(row["url"], row.get("digest"), tuple(sorted(row.get("headers", {}).items())))


def _refuse_nesting(files: dict[str, Source]) -> None:
    for path in files:
        parent = path.rpartition("/")[0]
        while parent:
            if parent in files:
                raise InvalidPath(f"'{parent}' is both a file and a folder in 'files'.", path=parent)
            parent = parent.rpartition("/")[0]


def _parse_url(path: str, url: str) -> Url:
    """A URL, or what the endpoint resolves: a path of this server (`/api/…`), or an address of a site of models."""
    if len(url) > MAX_URL_LENGTH:
        raise InvalidUrl(f"The URL of '{path}' is longer than {MAX_URL_LENGTH} characters.", path=path)
    if (url.startswith("/") and not url.startswith("//")) or _OF_A_SITE.match(url.strip()):
        return Url(url.strip())
    try:
        address = parse_address(url)
    except ValueError as error:
        raise InvalidUrl(f"The URL of '{path}' cannot be fetched: {error}.", path=path) from error
    return Url(address.url, headers=(("Authorization", address.authorization),) if address.authorization else ())


def _parse_inline(path: str, url: str) -> Inline:
    try:
        content_type, data = parse_data_url(url)
    except ValueError as error:
        raise InvalidUrl(f"The data: URL of '{path}' {error}.", path=path) from error
    return Inline(data, content_type)


def _parse_digest(path: str, digest: object) -> str | None:
    if digest is None:
        return None
    text = str(digest).lower().removeprefix("sha256:").removeprefix("blake3:")
    if not is_digest(text):
        raise InvalidRequest(f"The digest of '{path}' is not a blake3 or sha256 digest in hex.", path=path)
    return text


def _parse_headers(path: str, headers: object) -> tuple[tuple[str, str], ...]:
    if headers is None or headers == []:  # an empty object as PHP writes it
        return ()
    if not isinstance(headers, dict) or len(headers) > 20:
        raise InvalidRequest(f"The headers of '{path}' must be an object of at most 20 names and values.", path=path)
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _is_plain(value):
            raise InvalidRequest(f"Header '{name}' of '{path}' is not a plain name and value.", path=path)
        if name.lower() in ("host", "content-length", "transfer-encoding", "connection", "range", "accept-encoding"):
            raise InvalidRequest(f"Header '{name}' of '{path}' is set by comfyward.", path=path)
    return tuple(sorted(headers.items()))


def _is_plain(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and value.isascii()
