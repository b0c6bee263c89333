"""Bodies of requests and answers: JSON, read up to a limit whatever its Content-Type, and forms with a file.

An uploaded file is read in pieces, so that it is never whole in memory.
"""

from __future__ import annotations

import contextlib
import gzip
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import blake3
import msgspec
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse

from comfyward import wording
from comfyward.api.whole_numbers import whole_number
from comfyward.dispatch.heavy_requests import HEAVY
from comfyward.errors import InvalidRequest, TooLarge
from comfyward.python_json import NOT_JSON, TooManyValues, read_request, refuse_many

M = TypeVar("M", bound=BaseModel)
S = TypeVar("S", bound=msgspec.Struct)

UPLOAD_CHUNK_BYTES = 1 << 20
FORM_AROUND_BYTES = 1 << 20  # what a form may hold beside its file
MAX_FORM_FIELDS = 100
FILE_FIELDS = (b"file", b"image")
NO_HEADERS: Mapping[str, str] = {}
_EXACT_NAME = re.compile(rb";\s*filename\*\s*=\s*\"?([\w.-]+)'[^']*'([^;\s\"]+)", re.IGNORECASE)  # RFC 8187


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A value as JSON. Graphs that are JSON texts already pass through as they are (`msgspec.Raw`)."""
    return Response(encoded(value), status, headers, media_type="application/json")


def encoded(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)


async def answer_beside(
    owner: str, size: int, make: Callable[[], Any], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A value of about `size` bytes as JSON. A large one is made beside the event loop, one of an account at a time."""
    body = await HEAVY.run(owner, size, lambda: encoded(make()))
    return Response(body, status, headers, media_type="application/json")


@dataclass(frozen=True)
class Kept:
    """An answer that browsers keep: not sent again to one that has it (ETag), and compressed for the others."""

    content: bytes
    packed: bytes
    digest: str

    @classmethod
    def of(cls, content: bytes) -> Kept:
        return cls(content, gzip.compress(content, 6), f'W/"{blake3.blake3(content).hexdigest(16)}"')

    def answer(self, request: Request, media_type: str, headers: Mapping[str, str] = NO_HEADERS) -> Response:
        headers = {"Cache-Control": "no-cache", "ETag": self.digest, "Vary": "Accept-Encoding", **headers}
        if is_known(request, self.digest):
            return Response(status_code=304, headers=headers)
        if len(self.packed) >= len(self.content) or "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(self.content, headers=headers, media_type=media_type)
        return Response(self.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=media_type)


def is_known(request: Request, etag: str) -> bool:
    """True if the client has this version already; proxies that compress mark it as weak (RFC 9110)."""
    known = {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}
    return "*" in known or etag.removeprefix("W/") in known


def streamed(request: Request, pieces: AsyncIterator[bytes], **how: Any) -> Response:
    """An answer in pieces; for HEAD, its headers alone."""
    return Response(**how) if request.method == "HEAD" else StreamingResponse(pieces, **how)


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body. Raises TooLarge as soon as it is over the limit, without reading on."""
    if _announces_more(request, limit_bytes):
        raise _too_large(limit_bytes)
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        pieces.append(piece)
    return b"".join(pieces)


async def upload_pieces(request: Request, limit_bytes: int) -> AsyncIterator[bytes]:
    """The body in pieces. Raises TooLarge as soon as more than the limit was received or announced."""
    if _announces_more(request, limit_bytes):
        raise _upload_too_large(limit_bytes)
    try:
        async for piece in _at_most(request, limit_bytes):
            yield piece
    except _TooMuch as error:
        raise _upload_too_large(limit_bytes) from error


@contextlib.asynccontextmanager
async def read_upload(
    request: Request, limit_bytes: int, invalid: type[InvalidRequest] = InvalidRequest
) -> AsyncIterator[FormData]:
    """The form of a request; its file is on disk until the context ends.

    Raises TooLarge as soon as more than the limit was received or announced; `invalid` for a body that is no form.
    """
    most = limit_bytes + FORM_AROUND_BYTES
    if _announces_more(request, most):
        raise _upload_too_large(limit_bytes)
    try:
        chunks = _at_most(request, most)
        form = await _FormParser(request.headers, chunks, max_files=1, max_fields=MAX_FORM_FIELDS).parse()
    except _TooMuch as error:
        raise _upload_too_large(limit_bytes) from error
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:
        reason = error.message.rstrip(".") if isinstance(error, MultiPartException) else "it has no boundary"
        raise invalid(f"The form cannot be read: {reason}.", hint="Send multipart/form-data.") from error
    try:
        yield form
    finally:
        await form.close()


class _FormParser(MultiPartParser):
    """Reads the exact name of a file too (`filename*`), which some clients send alone and ComfyUI takes.

    The file may have no name: its path can be another field. Fields are in memory, so they have a bound of their own.
    """

    _fields_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self._fields_bytes += end - start
            if self._fields_bytes > FORM_AROUND_BYTES:
                raise MultiPartException(f"its fields beside the file hold more than {wording.size(FORM_AROUND_BYTES)}")
        super().on_part_data(data, start, end)

    def on_headers_finished(self) -> None:
        part = self._current_part
        found = _EXACT_NAME.search(part.content_disposition or b"")
        _, options = parse_options_header(part.content_disposition)
        if found is not None or (options.get(b"name") in FILE_FIELDS and b"filename" not in options):
            part.content_disposition = (part.content_disposition or b"") + b'; filename=""'
        super().on_headers_finished()
        if found is not None and part.file is not None:
            part.file.filename = _exact_name(*found.groups())


def _exact_name(charset: bytes, name: bytes) -> str:
    """Raises MultiPartException for bytes that are not of the character set."""
    try:
        return unquote_to_bytes(name).decode(charset.decode())
    except (LookupError, UnicodeDecodeError) as error:
        raise MultiPartException("the name of its file is not in the character set that is given") from error


class _TooMuch(MultiPartException):
    """Ends the parsing of a form. As the parser's own exception it closes the files that were begun."""


def _announces_more(request: Request, limit_bytes: int) -> bool:
    announced = request.headers.get("content-length")
    return announced is not None and whole_number(announced, most=limit_bytes) is None


async def _at_most(request: Request, limit_bytes: int) -> AsyncGenerator[bytes, None]:
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit_bytes:
            raise _TooMuch("too large")
        yield piece


async def pieces_of(upload: UploadFile) -> AsyncIterator[bytes]:
    """The bytes of a form's file."""
    while piece := await upload.read(UPLOAD_CHUNK_BYTES):
        yield piece


async def read_json(request: Request, model: type[M], limit_bytes: int) -> M:
    """The body as a model. Raises InvalidRequest naming the field and its fault."""
    body = await read_body(request, limit_bytes)

    def read() -> M:
        try:
            data = read_request(body)
        except NOT_JSON as error:
            raise InvalidRequest(f"The body is not valid JSON: {error}.", hint="Send a JSON object.") from error
        if not isinstance(data, dict):
            raise InvalidRequest("The body must be a JSON object.", hint='Send a JSON object, such as {"prompt": {…}}.')
        return check(model, data)

    return await HEAVY.run(owner_of(request), len(body), read)


async def python_json(request: Request, body: bytes) -> Any:
    """The body of a request as ComfyUI reads it. Raises one of NOT_JSON."""
    return await HEAVY.run(owner_of(request), len(body), lambda: read_request(body))


def owner_of(request: HTTPConnection) -> str:
    """The account or token that a request was found to be of; empty before that."""
    return str(getattr(request.state, "owner", ""))


@dataclass(frozen=True)
class MessageLimit:
    """The largest message of a kind: its bytes, and its values, which are counted before any is decoded."""

    bytes: int
    values: int


async def read_message(request: Request, kind: type[S], limit: MessageLimit) -> S:
    """The body as a message of a worker or a fleet. Raises InvalidRequest, TooLarge."""
    body = await read_body(request, limit.bytes)

    def read() -> S:
        refuse_many(body, limit.values)
        return msgspec.json.decode(body, type=kind)

    try:
        return await HEAVY.run(owner_of(request), len(body), read)
    except (msgspec.DecodeError, TooManyValues, RecursionError) as error:
        raise InvalidRequest(
            f"The message does not follow this protocol: {error}.",
            hint="Worker and server must be of the same version.",
        ) from error


def check(model: type[M], data: dict[str, Any]) -> M:
    """Raises InvalidRequest."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise refused(error) from error


def refused(error: ValidationError, *where: str) -> InvalidRequest:
    """The error of an API for values that a model refuses; `where` precedes the names of the fields."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    for problem in problems:
        problem["loc"] = (*where, *problem["loc"])
    field = ".".join(str(part) for part in problems[0]["loc"])
    return InvalidRequest(f"'{field}': {problems[0]['msg']}.", fields=problems)


def _upload_too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"The upload is larger than {wording.size(limit_bytes)}.", limit=limit_bytes)


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(
        f"The body is larger than {wording.size(limit_bytes)}.",
        hint="Upload large files with POST /api/v1/files, or give their URLs in 'files'.",
        limit=limit_bytes,
    )
