"""The SHA-256 of a file as its origin tells it: in answer to a HEAD, or, like Civitai, in a description beside it."""

from __future__ import annotations

import base64
import binascii
import http.client
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from comfyward.errors import FetchFailed
from comfyward.files.encoding import EncodingError
from comfyward.files.remote_file import REDIRECTS, RemoteFile, Retry
from comfyward.files.stop import Stopped
from comfyward.ids import is_digest

# S3 tells its checksum only to those who ask for it.
ASKED = {"x-amz-checksum-mode": "ENABLED", "Want-Repr-Digest": "sha-256=10", "Want-Digest": "sha-256"}
DESCRIPTION_BYTES = 1 << 20
OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

_SHA256 = re.compile(r"(?:^|,)\s*sha-256\s*=\s*:?([A-Za-z0-9+/]{43}=):?\s*(?:[,;]|$)", re.IGNORECASE)
_STRONG = re.compile(r'"([0-9A-Fa-f]{64})"')
_DOWNLOAD = re.compile(r"/api/download/models/([0-9]{1,12})")

Header = Callable[[str], str | None]


def sha256_at(remote: RemoteFile) -> str | None:
    """The SHA-256 in hex that a file's own origin tells; None if it tells none, or cannot be asked."""
    try:
        return _of_heads(remote) or _of_description(remote)
    except (FetchFailed, Retry, Stopped, EncodingError, OSError, ValueError, http.client.HTTPException):
        return None
    except RecursionError:  # a description that is nested without end
        return None


def sha256_of(status: int, header: Header) -> str | None:
    """The SHA-256 of a whole file in the headers of an answer to a HEAD; None if they tell none."""
    if linked := _quoted(header("X-Linked-Etag")):  # Hugging Face: of the file to which it redirects
        return linked
    if status != 200 or (header("Content-Encoding") or "identity").lower() != "identity":
        return None
    found = (
        _base64(header("x-amz-checksum-sha256")),
        *(_listed(header(name)) for name in ("Repr-Digest", "Content-Digest", "Digest")),
        _quoted(header("ETag")),
    )
    return next((each for each in found if each is not None and each != OF_NOTHING), None)


def described(url: str, description: Any) -> str | None:
    """The SHA-256 of the file at a download URL, in Civitai's description of a version of a model."""
    file = described_file(url, description)
    return hash_of(file) if file is not None else None


def described_file(url: str, description: Any) -> dict[str, Any] | None:
    """The one file of a described version that a download URL leads to; None if it could be none or several."""
    files = description.get("files") if isinstance(description, dict) else None
    known = [each for each in files if isinstance(each, dict)] if isinstance(files, list) else []
    asked = _place(url)
    meant = [each for each in known if _place(str(each.get("downloadUrl", ""))) == asked]
    meant = meant or [each for each in known if asked[1] and _is_asked_for(each, asked[1])]
    return meant[0] if len(meant) == 1 else None


def hash_of(file: dict[str, Any]) -> str | None:
    """The SHA-256 in Civitai's description of a file."""
    hashes = file.get("hashes")
    sha256 = str(hashes.get("SHA256", "")).lower() if isinstance(hashes, dict) else ""
    return sha256 if is_digest(sha256) else None


def description_of(remote: RemoteFile) -> Any:
    """Civitai's description of the version that a download URL leads to; None for another URL.

    Raises Retry, FetchFailed, OSError, ValueError.
    """
    match = _DOWNLOAD.fullmatch(urlsplit(remote.url).path)
    if match is None:
        return None
    return msgspec.json.decode(remote.beside(f"/api/v1/model-versions/{match[1]}", DESCRIPTION_BYTES))


def _of_heads(remote: RemoteFile) -> str | None:
    for answer in remote.heads(ASKED):
        if answer.status in (200, *REDIRECTS) and (sha256 := sha256_of(answer.status, answer.header)):
            return sha256
    return None


def _of_description(remote: RemoteFile) -> str | None:
    return described(remote.url, description_of(remote))


def _place(url: str) -> tuple[str, list[tuple[str, str]]]:
    """The path and the query of a URL, without the caller's token."""
    parts = urlsplit(url)
    return parts.path, sorted(pair for pair in parse_qsl(parts.query) if pair[0] != "token")


def _is_asked_for(file: dict[str, Any], query: list[tuple[str, str]]) -> bool:
    """True if a described file is the one that the query of a download URL asks for: type, format, size, fp."""
    metadata = file.get("metadata")
    about = {**(metadata if isinstance(metadata, dict) else {}), "type": file.get("type")}
    return all(str(about.get(name)).lower() == value.lower() for name, value in query)


def _quoted(value: str | None) -> str | None:
    match = _STRONG.fullmatch((value or "").strip())
    return match[1].lower() if match else None


def _listed(value: str | None) -> str | None:
    match = _SHA256.search(value or "")
    return _base64(match[1]) if match else None


def _base64(value: str | None) -> str | None:
    try:
        data = base64.b64decode(value or "", validate=True)
    except (binascii.Error, ValueError):
        return None
    return data.hex() if len(data) == 32 else None
