"""The workers' side: see worker/protocol.py for the wire. Any replica can answer any call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import blake3
import msgspec
from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from starlette.routing import Mount, Route

from comfyward import __version__
from comfyward.api.auth import refuse_foreign_pool
from comfyward.api.body import read_body, read_message
from comfyward.api.contents import OCTET_STREAM, Content
from comfyward.api.context import Context
from comfyward.dispatch.worker_sessions import WorkerRef
from comfyward.errors import InvalidRequest, NotFound, OtherVersion, StaleLease, TooLarge
from comfyward.files.objects import Blob, blob_key, shown_as
from comfyward.ids import is_digest
from comfyward.runs.files import Stored, source_from_row
from comfyward.runs.log import plain
from comfyward.runs.run import Api, Run
from comfyward.store import queue, workers
from comfyward.store.db import now_ms
from comfyward.store.mirrors import Mirror
from comfyward.store.workers import WorkerRow
from comfyward.worker.protocol import (
    LEASE_HEADER,
    OLDEST_PROTOCOL,
    PREFIX,
    PROTOCOL,
    Ask,
    Assignment,
    FileOrder,
    Goodbye,
    Heartbeat,
    Hello,
    MirrorOffer,
    OutputOffer,
    OutputPlace,
    Reports,
    Welcome,
    WorkerInfo,
)

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

MAX_MESSAGE_BYTES = 64 << 20


def routes(context: Context) -> Mount:
    """Plain Starlette: these calls are on every run's way, and their messages are msgspec's to check."""
    return Mount(PREFIX, routes=[*_life_routes(context), *_work_routes(context), *_byte_routes(context)])


def _life_routes(context: Context) -> list[Route]:
    db = context.db

    async def hello(request: Request) -> Response:
        message = await _read(context, request, Hello)
        worker = message.worker
        await context.auth.joining_worker(request, worker.pool)
        if not OLDEST_PROTOCOL <= message.protocol <= PROTOCOL + 1:
            raise _too_far_apart(message.protocol, worker.versions.get("comfyward", "unknown"))
        replaced = await db.write(workers.register, _row(worker))
        if replaced:
            await context.sessions.end(worker.id)
            await db.write(workers.register, _row(worker))
        context.sessions.registered(worker.id)
        known = await db.lookup(workers.catalog_digest, worker.environment)
        wants_catalog = known != message.catalog_digest
        return _answer(Welcome(context.sessions.lease_s, wants_catalog, PROTOCOL))

    async def put_catalog(request: Request) -> Response:
        await context.auth.worker(request)
        environment, digest = request.path_params["environment"], request.path_params["digest"]
        body = await read_body(request, MAX_MESSAGE_BYTES)
        if blake3.blake3(body).hexdigest() != digest:
            raise InvalidRequest("The catalog does not have the digest that was announced.")
        await db.write(workers.put_catalog, environment, digest, body.decode(), now_ms())
        return Response(status_code=204)

    async def goodbye(request: Request) -> Response:
        message = await _read(context, request, Goodbye)
        await _worker_ref(context, request, message.worker_id, message.incarnation)
        await context.sessions.end(message.worker_id, said_goodbye=True)
        return Response(status_code=204)

    async def put_log(request: Request) -> Response:
        worker_id, incarnation = request.path_params["worker_id"], request.path_params["incarnation"]
        await _worker_ref(context, request, worker_id, incarnation)
        text = await read_body(request, MAX_MESSAGE_BYTES)
        log = plain(text.decode("utf-8", "replace"))
        context.logs.uploaded(worker_id, log)
        return Response(status_code=204)

    return [
        Route("/hello", hello, methods=["POST"]),
        Route("/catalog/{environment}/{digest}", put_catalog, methods=["PUT"]),
        Route("/log/{worker_id}/{incarnation}", put_log, methods=["PUT"]),
        Route("/goodbye", goodbye, methods=["POST"]),
    ]


def _work_routes(context: Context) -> list[Route]:
    async def lease(request: Request) -> Response:
        ask = await _read(context, request, Ask)
        ref = await _worker_ref(context, request, ask.worker_id, ask.incarnation)
        run = await _while_connected(request, context.assigner.ask(ref, ask))
        if run is None:
            return Response(status_code=204)
        return _answer(_assignment(run, context.secrets.of(run.id), await context.mirrors.of(run)))

    async def heartbeat(request: Request) -> Response:
        message = await _read(context, request, Heartbeat)
        ref = await _worker_ref(context, request, message.worker_id, message.incarnation)
        orders = await _while_connected(request, context.sessions.heartbeat(ref, message))
        return Response(status_code=204) if orders is None else _answer(orders)

    async def reports(request: Request) -> Response:
        await context.recorder.record(await _read(context, request, Reports))
        return Response(status_code=204)

    return [
        Route("/lease", lease, methods=["POST"]),
        Route("/heartbeat", heartbeat, methods=["POST"]),
        Route("/reports", reports, methods=["POST"]),
    ]


def _byte_routes(context: Context) -> list[Route]:
    limit = context.settings.fetch_limit_bytes

    async def place_output(request: Request) -> Response:
        digest, offer = await _offer(request)
        if offer.size > limit:
            raise TooLarge(f"The file is larger than {limit} bytes.", limit=limit)
        return await _place(context, digest, offer.name, offer.size)

    async def output_stored(request: Request) -> Response:
        digest, offer = await _offer(request)
        await context.blobs.register(Blob(digest, offer.sha256, offer.size, offer.name))
        return Response(status_code=204)

    async def put_output(request: Request) -> Response:
        await _leased_run(context, request)
        return await take_in(request)

    async def take_in(request: Request) -> Response:
        name = request.query_params.get("name", "")
        await context.blobs.put_stream(request.stream(), limit=limit, digest=_digest(request), name=name)
        return Response(status_code=204)

    async def _offer(request: Request) -> tuple[str, OutputOffer]:
        offer = await _read(context, request, OutputOffer)
        await _leased_run(context, request)
        return _digest(request), offer

    async def get_blob(request: Request) -> Response:
        digest = request.path_params["digest"]
        run = await _leased_run(context, request)
        size = await _size_for(context, run, digest)
        if url := await context.objects.get_url(blob_key(digest)):
            return RedirectResponse(url, 307)
        return await context.contents.serve(request, Content(digest, size, OCTET_STREAM, digest))

    async def place_mirror(request: Request) -> Response:
        offer = await _read(context, request, MirrorOffer)
        if not is_digest(offer.digest) or not context.mirrors.is_on or offer.size > limit:
            raise InvalidRequest("This cannot be kept.")
        return await _place(context, offer.digest, offer.name, offer.size)

    async def mirror_stored(request: Request) -> Response:
        offer = await _read(context, request, MirrorOffer)
        blob = Blob(offer.digest, offer.sha256, offer.size, offer.name)
        await context.mirrors.register(request.path_params["key"], blob)
        return Response(status_code=204)

    async def put_mirror(request: Request) -> Response:
        """The bytes themselves, of a model that is too large for one PUT to the store."""
        await context.auth.worker(request)
        if not context.mirrors.is_on:
            raise InvalidRequest("This cannot be kept.")
        return await take_in(request)

    return [
        Route("/outputs/{digest}", place_output, methods=["POST"]),
        Route("/outputs/{digest}", put_output, methods=["PUT"]),
        Route("/outputs/{digest}/stored", output_stored, methods=["POST"]),
        Route("/blobs/{digest}", get_blob, methods=["GET"]),
        Route("/mirrors/{key}", place_mirror, methods=["POST"]),
        Route("/mirrors/{key}/stored", mirror_stored, methods=["POST"]),
        Route("/mirrors/{key}/{digest}", put_mirror, methods=["PUT"]),
    ]


def _digest(request: Request) -> str:
    digest = str(request.path_params["digest"])
    if not is_digest(digest):
        raise InvalidRequest("That is not a digest.")
    return digest


async def _place(context: Context, digest: str, name: str, size: int) -> Response:
    """Where a worker is to take bytes of a digest."""
    if await context.blobs.touch(digest):
        return _answer(OutputPlace(is_there=True))
    url = await context.objects.put_url(blob_key(digest), size)
    return _answer(OutputPlace(url=url, headers=shown_as(name) if url else {}))


async def _size_for(context: Context, run: Run, digest: str) -> int:
    """The size of a blob that a run uses, or that mirrors one of its models. Raises NotFound."""
    for source in map(source_from_row, run.files.values()):
        if isinstance(source, Stored) and source.digest == digest:
            return source.size
    for mirror in (await context.mirrors.of(run)).values():
        if mirror is not None and mirror.digest == digest:
            return mirror.size
    raise NotFound("The run does not use this blob.")


async def _read(context: Context, request: Request, kind: type[S]) -> S:
    await context.auth.worker(request)
    return await read_message(request, kind, MAX_MESSAGE_BYTES)


async def _worker_ref(context: Context, request: Request, worker_id: str, incarnation: str) -> WorkerRef:
    """The worker behind a call. Raises StaleLease when another life of it has said hello since, Forbidden for a worker
    of a pool that the caller's token is not for."""
    token = await context.auth.worker(request)
    ref = await context.sessions.identify(worker_id, incarnation)
    refuse_foreign_pool(token, ref.pool)
    return ref


def _too_far_apart(protocol: int, version: str) -> OtherVersion:
    older, newer = ("worker", "server") if protocol < PROTOCOL else ("server", "worker")
    return OtherVersion(
        f"The worker (comfyward {version}, protocol {protocol}) and the server ({__version__}, protocol {PROTOCOL}) are"
        " of versions too far apart.",
        hint=f"Install the {newer}'s version where the {older} runs.",
    )


async def _leased_run(context: Context, request: Request) -> Run:
    await context.auth.worker(request)
    found = await context.db.lookup(queue.leased, request.headers.get(LEASE_HEADER, ""))
    if found is None:
        raise StaleLease("The lease is over or was given to another worker.")
    return found[0]


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of a held request, or None as soon as the worker has hung up: nothing is handed to nobody."""
    task = asyncio.create_task(work)
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


def _assignment(run: Run, secrets: dict[str, Any], mirrors: Mapping[str, Mirror | None]) -> Assignment:
    assert run.lease is not None
    extra_data = run.extra_data.encode() if run.extra_data else b"null"
    if secrets:
        extra_data = msgspec.json.encode({**(msgspec.json.decode(extra_data) or {}), **secrets})
    return Assignment(
        run_id=run.id,
        lease=run.lease,
        attempt=run.attempt,
        prompt=msgspec.Raw(run.prompt.encode()),
        extra_data=msgspec.Raw(extra_data),
        files=[_order(path, row, mirrors) for path, row in run.files.items()],
        models=run.models,
        timeout_s=run.timeout_s,
        previews=run.submitted_via is Api.NATIVE,
    )


def _order(path: str, row: dict[str, Any], mirrors: Mapping[str, Mirror | None]) -> FileOrder:
    match source_from_row(row):
        case Stored(digest):
            return FileOrder(path, blob=digest)
        case url:
            mirror = mirrors.get(path)
            there, keep = mirror.digest if mirror else None, path in mirrors and mirror is None
            return FileOrder(path, url.url, url.digest, dict(url.headers), mirror=there, keep=keep)


def _row(worker: WorkerInfo) -> WorkerRow:
    now = now_ms()
    return WorkerRow(
        id=worker.id,
        incarnation=worker.incarnation,
        pool=worker.pool,
        environment=worker.environment,
        device=worker.device,
        host=worker.host,
        sandbox=worker.sandbox,
        versions=worker.versions,
        local=worker.local,
        started_at=now,
        seen_at=now,
        gone_at=None,
    )


def _answer(message: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(message), media_type="application/json")
