"""The facts of a file as its origin tells them, without sending it: size, SHA-256, name, or that it would not."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass, field, replace
from email.message import Message
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from comfyward.errors import FetchFailed
from comfyward.files import refusal
from comfyward.files.answer import Answer
from comfyward.files.encoding import EncodingError
from comfyward.files.origin_digests import ASKED, described_file, description_of, hash_of, sha256_of
from comfyward.files.remote_file import REDIRECTS, RemoteFile, Retry
from comfyward.runs.address import origin_of

FIRST_BYTE = {"Range": "bytes=0-0"}
PAGES = re.compile(r"\.(html?|xml|svg|txt|md)$", re.IGNORECASE)
_NAMELESS = re.compile(r"[0-9]+|download|resolve|")


@dataclass(frozen=True)
class FileFacts:
    """The file at `url`: size in bytes, SHA-256 in hex and name, each None if its origin does not tell it.

    With a `problem` the origin would not send it.
    """

    url: str
    size: int | None = None
    sha256: str | None = None
    name: str | None = None
    problem: FetchFailed | None = field(default=None, compare=False)

    @property
    def is_gated(self) -> bool:
        """True if the origin wants a token, or another one, or a licence to be accepted."""
        return self.problem is not None and refusal.wants_more(self.problem)


def facts_of(remote: RemoteFile) -> FileFacts:
    """The facts of a file. Its own origin alone tells the SHA-256; where it redirects to may tell size and name.

    Raises Stopped.
    """
    facts = FileFacts(remote.url)
    try:
        facts = _of_heads(remote, facts)
        if facts.size is None or facts.problem is not None:
            facts = _of_first_byte(remote, replace(facts, problem=None))
    except Retry as retry:
        facts = replace(facts, problem=retry.error)
    except FetchFailed as error:
        facts = replace(facts, problem=error)
    return facts if facts.problem else _of_description(remote, facts)


def _of_heads(remote: RemoteFile, facts: FileFacts) -> FileFacts:
    """The answers to HEADs; a problem if they are refused, as some origins do with every HEAD."""
    try:
        for answer in remote.heads(ASKED):
            if answer.status not in (200, *REDIRECTS):
                return replace(facts, problem=FetchFailed("HEAD was refused.", http_status=answer.status))
            _refuse_page(remote, answer)
            facts = replace(
                facts,
                size=facts.size if (size := _size_in(answer)) is None else size,
                sha256=facts.sha256 or sha256_of(answer.status, answer.header),
                name=_name_in(answer) or facts.name,
            )
    except (Retry, FetchFailed) as error:
        return replace(facts, problem=error.error if isinstance(error, Retry) else error)
    return facts


def _of_first_byte(remote: RemoteFile, facts: FileFacts) -> FileFacts:
    with remote.open(FIRST_BYTE) as answer:
        _refuse_page(remote, answer)
        is_own = origin_of(answer.address.url) == origin_of(remote.url)
        return replace(
            facts,
            size=answer.total if facts.size is None else facts.size,
            sha256=facts.sha256 or (sha256_of(answer.status, answer.header) if is_own else None),
            name=facts.name or _name_in(answer),
        )


def _size_in(answer: Answer) -> int | None:
    """The size in an answer to a HEAD. Hugging Face tells that of the file to which it redirects."""
    linked = answer.header("X-Linked-Size") or ""
    if linked.isdecimal() and len(linked) < 19:
        return int(linked)
    return answer.total if answer.status == 200 else None


def _refuse_page(remote: RemoteFile, answer: Answer) -> None:
    """Raises FetchFailed for a web page in place of a file, such as one to log in."""
    kind = (answer.header("Content-Type") or "").partition(";")[0].strip().lower()
    if answer.status in (200, 206) and kind == "text/html" and not PAGES.search(urlsplit(remote.url).path):
        raise refusal.web_page_instead(remote.host)


def _of_description(remote: RemoteFile, facts: FileFacts) -> FileFacts:
    """The facts, with what Civitai's description beside the file adds."""
    file = None
    if facts.sha256 is None:
        try:
            file = described_file(remote.url, description_of(remote))
        except (FetchFailed, Retry, EncodingError, OSError, ValueError, RecursionError, http.client.HTTPException):
            return _named_by_url(facts)
    if file is not None:
        name = file.get("name")
        facts = replace(facts, sha256=hash_of(file), name=name if isinstance(name, str) and name else facts.name)
    return _named_by_url(facts)


def _named_by_url(facts: FileFacts) -> FileFacts:
    last = unquote(urlsplit(facts.url).path).rpartition("/")[2]
    return facts if facts.name or _NAMELESS.fullmatch(last) else replace(facts, name=last)


def _name_in(answer: Answer) -> str | None:
    """The file's name in Content-Disposition, or in a signed redirect's parameter that will make one."""
    told = answer.header("Content-Disposition")
    if told is None and (location := answer.header("Location")):
        told = _parameter(location, "response-content-disposition")
    return _plain(_file_name(told)) if told else None


def _parameter(location: str, name: str) -> str | None:
    try:
        return parse_qs(urlsplit(location).query).get(name, [None])[0]
    except ValueError:
        return None


def _file_name(disposition: str) -> str | None:
    """The file name in a Content-Disposition (RFC 6266): the extended one if there are two."""
    message = Message()
    message["Content-Disposition"] = disposition
    found: Any = message.get_filename()
    return str(found) if found else None


def _plain(name: str | None) -> str | None:
    """The last part of a name that can be one of a file."""
    last = (name or "").replace("\\", "/").rpartition("/")[2].strip()
    return last if last.isprintable() and last not in ("", ".", "..") and len(last.encode()) <= 255 else None
