"""The worker's connection to the server. Every call is repeated while the server cannot be reached."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import aiohttp
import blake3
import msgspec
from yarl import URL

from comfyward.errors import (
    ComfywardError,
    Forbidden,
    InvalidRequest,
    OtherVersion,
    StaleLease,
    TooLarge,
    Unauthenticated,
    WorkerIdTaken,
)
from comfyward.ids import new_secret
from comfyward.worker.environment_reports import Trial
from comfyward.worker.learned import Learned, LearningOrder
from comfyward.worker.protocol import (
    LEASE_HEADER,
    MIRROR_HEADER,
    OLDEST_PROTOCOL,
    PREFIX,
    SESSION_HEADER,
    Ask,
    Assignment,
    Goodbye,
    Heartbeat,
    Hello,
    MirrorOffer,
    Orders,
    OutputOffer,
    OutputPlace,
    Reports,
    Welcome,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

SESSION_VARIABLE = "COMFYWARD_WORKER_SESSION"  # of a worker's process: the secret of its session, from its host
REPLY_TIMEOUT_S = 30.0
UPLOAD_TIMEOUT_S = 3600.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 3.0
DOUBLINGS = 10  # more than there are between the two: a server may be away for days
UPLOAD_CHUNK_BYTES = 1 << 20
MAX_TREE_BYTES = 10 << 30
REFUSALS = 5  # of a report or a result by an error of the server; it would be the same again


class ServerLink:
    """Calls return when the server has answered. A refusal is raised: StaleLease, Unauthenticated.

    `headers` tell the server whose calls they are: by the worker's token, and by the secret of this session. The
    server's welcome says how long a lease lasts without renewal, and whether outputs are taken before the end.
    """

    def __init__(self, server_url: str, token: str, secret: str | None = None) -> None:
        """`secret` is from whoever started the worker, and also ends its session; None makes a new one."""
        self.server_url = server_url.rstrip("/")
        self.headers = {"Authorization": f"Bearer {token}", SESSION_HEADER: secret or new_secret()}
        self.takes_outputs_early, self.lease_s = True, 15.0
        self._heard = False
        self._session = aiohttp.ClientSession(headers=self.headers, connector=aiohttp.TCPConnector(limit=0))

    async def close(self) -> None:
        await self._session.close()

    async def hello(self, hello: Hello) -> Welcome:
        """Registers the worker. Raises OtherVersion if the server and the worker are too far apart."""
        welcome = msgspec.json.decode(await self._post("hello", hello), type=Welcome)
        if welcome.protocol < OLDEST_PROTOCOL:
            raise OtherVersion(
                f"The server speaks protocol {welcome.protocol}; this worker needs {OLDEST_PROTOCOL} or newer.",
                hint="Install this worker's version of comfyward where the server runs.",
            )
        self.takes_outputs_early, self.lease_s = welcome.protocol >= 3, welcome.lease_s
        return welcome

    async def put_catalog(self, environment: str, digest: str, body: bytes) -> None:
        await self._call("PUT", f"catalog/{environment}/{digest}", body, REPLY_TIMEOUT_S)

    async def lock_of(self, environment: str) -> bytes:
        """The lock of an environment, as JSON."""
        return await self._call("GET", f"environments/{environment}", b"", REPLY_TIMEOUT_S)

    async def fetch_tree(self, tree: str, path: Path) -> None:
        """Downloads the archive of a tree, without retries. Raises ComfywardError, aiohttp's errors, TimeoutError."""
        timeout = aiohttp.ClientTimeout(total=UPLOAD_TIMEOUT_S, sock_connect=5.0, sock_read=REPLY_TIMEOUT_S)
        async with self._session.get(f"{self.server_url}{PREFIX}/environments/trees/{tree}", timeout=timeout) as answer:
            if answer.status != 200:
                return _raise_for(answer.status, await answer.read())
            room = MAX_TREE_BYTES
            with path.open("wb") as file:
                async for piece in answer.content.iter_chunked(UPLOAD_CHUNK_BYTES):
                    room -= len(piece)
                    if room < 0:
                        raise TooLarge(f"The server sent more than {MAX_TREE_BYTES >> 30} GiB of files.")
                    await asyncio.to_thread(file.write, piece)

    async def put_trial(self, environment: str, trial: Trial) -> None:
        await self._call("PUT", f"environments/{environment}/trial", msgspec.json.encode(trial), REPLY_TIMEOUT_S)

    async def learning_of(self, environment: str) -> LearningOrder | None:
        """The trial of an environment that is to learn; None if another worker has it, or this one may not."""
        try:
            body = await self._call("POST", f"environments/{environment}/learning", b"", REPLY_TIMEOUT_S)
        except Forbidden:
            return None
        except ComfywardError as error:
            if error.details.get("http_status") != 404:
                raise
            return None
        return msgspec.json.decode(body, type=LearningOrder)

    async def put_learned(self, environment: str, learned: Learned) -> None:
        """Sends what was learned, unless nobody wants to know any more."""
        try:
            await self._call(
                "PUT", f"environments/{environment}/learned", msgspec.json.encode(learned), REPLY_TIMEOUT_S
            )
        except ComfywardError as error:
            if error.details.get("http_status") != 404:
                raise

    async def put_web_files(self, environment: str, archive: bytes) -> None:
        """Sends what packs bring for the editor. A server of an earlier version does without."""
        path = f"environments/{environment}/web/{blake3.blake3(archive).hexdigest()}"
        try:
            await self._call("PUT", path, archive, UPLOAD_TIMEOUT_S)
        except ComfywardError as error:
            if error.details.get("http_status") != 404:
                raise

    async def ask(self, ask: Ask) -> Assignment | None:
        body = await self._call("POST", "lease", lambda: self._asked(ask), REPLY_TIMEOUT_S + ask.wait_s)
        assignment = msgspec.json.decode(body, type=Assignment) if body else None
        self._heard = True
        return assignment

    async def heartbeat(self, heartbeat: Heartbeat) -> Orders:
        """Sends one heartbeat, without retries: the caller measures for how long the server has been silent."""
        status, body = await self._send(
            "POST", "heartbeat", msgspec.json.encode(heartbeat), heartbeat.wait_s + REPLY_TIMEOUT_S, {}
        )
        _raise_for(status, body)
        return msgspec.json.decode(body, type=Orders)

    async def put_log(self, worker_id: str, incarnation: str, text: str) -> None:
        """Uploads the log, without retries: whoever wants it asks again."""
        url = f"log/{worker_id}/{incarnation}"
        _raise_for(*await self._send("PUT", url, text.encode(), REPLY_TIMEOUT_S, {}))

    async def report(self, reports: Reports) -> None:
        """Raises ComfywardError if the server refuses the reports, or fails at them again and again."""
        body = msgspec.json.encode(reports)
        await self._call("POST", "reports", body, REPLY_TIMEOUT_S, may_refuse=True)

    async def put_output(self, lease: str, digest: str, offer: OutputOffer, path: Path) -> None:
        """Uploads an output to the place that the server names, with retries while it is what was offered.

        Raises ComfywardError if the file is not, or if the server or the store refuses it.
        """
        headers, refusals = {LEASE_HEADER: lease}, 0
        while True:
            if path.stat().st_size != offer.size:
                raise ComfywardError(f"'{offer.name}' changed while it was uploaded.")
            place = await self._place(digest, offer, headers)
            if place.is_there:
                return
            try:
                # A file opened anew for each try: a broken upload has read some of it.
                status, body = await self._upload(place, f"outputs/{digest}", offer.name, offer.size, path, headers)
                if place.url is not None and status < 300:
                    return await self._stored(digest, offer, headers)
            except InvalidRequest as error:  # a server of another version does not find it
                refusals += 1
                if refusals == REFUSALS:
                    raise
                await _pause("outputs", 0, error)
                continue
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                await _pause("outputs", 0, error)
                continue
            refusals += status <= 500
            if (place.url is None and (status < 500 or status == 507)) or refusals == REFUSALS:
                return _raise_for(status, body)
            await _pause("outputs", 0, RuntimeError(f"the upload was answered {status}"))

    async def put_mirror(self, lease: str, key: str, offer: MirrorOffer, path: Path) -> None:
        """Uploads the contents of a URL to the object store, without retries: the next worker tries again.

        Raises ComfywardError, aiohttp's errors, TimeoutError, OSError.
        """
        body = msgspec.json.encode(offer)
        status, answer = await self._send("POST", f"mirrors/{key}", body, REPLY_TIMEOUT_S, {LEASE_HEADER: lease})
        _raise_for(status, answer)
        place = msgspec.json.decode(answer, type=OutputPlace)
        headers = {MIRROR_HEADER: place.permit}
        if not place.is_there:
            here = f"mirrors/{key}/{offer.digest}"
            _raise_for(*await self._upload(place, here, offer.name, offer.size, path, headers))
        _raise_for(*await self._send("POST", f"mirrors/{key}/stored", body, UPLOAD_TIMEOUT_S, headers))

    def _asked(self, ask: Ask) -> bytes:
        """Made anew for each try: after one that failed, nobody but us can tell what its answer was."""
        heard, self._heard = self._heard, False
        return msgspec.json.encode(msgspec.structs.replace(ask, heard=heard))

    async def _place(self, digest: str, offer: OutputOffer, headers: dict[str, str]) -> OutputPlace:
        message = msgspec.json.encode(offer)
        body = await self._call("POST", f"outputs/{digest}", message, REPLY_TIMEOUT_S, headers, may_refuse=True)
        return msgspec.json.decode(body, type=OutputPlace)

    async def _stored(self, digest: str, offer: OutputOffer, headers: dict[str, str]) -> None:
        path, message = f"outputs/{digest}/stored", msgspec.json.encode(offer)
        await self._call("POST", path, message, UPLOAD_TIMEOUT_S, headers, may_refuse=True)

    async def _upload(
        self, place: OutputPlace, here: str, name: str, size: int, path: Path, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        """Uploads a file to the object store if the server named a URL, else to the server (`here`, with `headers`)."""
        if place.url is not None:
            return await self._store(place.url, path, {**place.headers, "Content-Length": str(size)})
        return await self._send("PUT", f"{here}?{urlencode({'name': name})}", path, UPLOAD_TIMEOUT_S, headers)

    async def _store(self, url: str, path: Path, headers: dict[str, str]) -> tuple[int, bytes]:
        """Uploads to an object store. The URL is signed, so the worker's token is not sent."""
        timeout = aiohttp.ClientTimeout(total=UPLOAD_TIMEOUT_S, sock_connect=5.0)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.put(URL(url, encoded=True), data=_pieces(path), headers=headers) as answer,
        ):
            return answer.status, await answer.read()

    async def goodbye(self, goodbye: Goodbye) -> None:
        await self._send("POST", "goodbye", msgspec.json.encode(goodbye), REPLY_TIMEOUT_S, {})

    def blob_url(self, digest: str) -> str:
        return f"{self.server_url}{PREFIX}/blobs/{digest}"

    def pinned_url(self, worker_id: str, incarnation: str, digest: str) -> str:
        return f"{self.server_url}{PREFIX}/pinned/{worker_id}/{incarnation}/{digest}"

    async def _post(self, path: str, message: msgspec.Struct) -> bytes:
        return await self._call("POST", path, msgspec.json.encode(message), REPLY_TIMEOUT_S)

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes | Callable[[], bytes],
        timeout_s: float,
        headers: dict[str, str] | None = None,
        *,
        may_refuse: bool = False,
    ) -> bytes:
        """The answer. With `may_refuse` errors of the server (500) are raised when it has made REFUSALS of them."""
        attempt = refusals = 0
        while True:
            content = body() if callable(body) else body
            try:
                status, answer = await self._send(method, path, content, timeout_s, headers or {})
                refusals += may_refuse and status == 500
                if status < 500 or refusals == REFUSALS:
                    _raise_for(status, answer)
                    return answer
                await _pause(path, attempt, RuntimeError(f"the server answered {status}"))
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                await _pause(path, attempt, error)
            attempt += 1

    async def _send(
        self, method: str, path: str, body: bytes | Path, timeout_s: float, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=5.0)
        url = f"{self.server_url}{PREFIX}/{path}"
        data: Any = _pieces(body) if isinstance(body, Path) else body
        async with self._session.request(method, url, data=data, timeout=timeout, headers=headers) as answer:
            return answer.status, await answer.read()


async def _pieces(path: Path) -> Any:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, UPLOAD_CHUNK_BYTES):
            yield piece


def _raise_for(status: int, body: bytes) -> None:
    if status < 400:
        return
    try:
        answer = msgspec.json.decode(body)
        code, message, hint = answer["code"], str(answer["message"]), answer.get("hint")
    except (msgspec.DecodeError, KeyError, TypeError):
        code, message, hint = None, f"The server answered {status}.", None
    match status:
        case 400 | 413:
            raise InvalidRequest(message, hint=hint, http_status=status)
        case 401:
            raise Unauthenticated(message, hint=hint or "The worker's token is wrong or was revoked.")
        case 403:
            raise Forbidden(message, hint=hint)
        case 426:
            raise OtherVersion(message, hint=hint)
        case 413:
            raise TooLarge(message, hint=hint)
        case 409 if code == StaleLease.code:
            raise StaleLease(message)
        case 409 if code == WorkerIdTaken.code:
            raise WorkerIdTaken(message, hint=hint)
        case _:
            raise ComfywardError(message, http_status=status)


async def _pause(what: str, attempt: int, error: BaseException) -> None:
    log.warning("%s: no answer from the server (%s), trying again", what, error or type(error).__name__)
    pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(attempt, DOUBLINGS)) * random.uniform(0.5, 1.0)  # noqa: S311
    await asyncio.sleep(pause_s)
