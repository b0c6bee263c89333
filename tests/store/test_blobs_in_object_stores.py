"""Blobs in a directory and in S3: put, read in ranges, handed out by URLs, swept; bad settings said in one line."""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from comfyward.accounts.storage import Quota
from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.quotas import Quotas
from comfyward.errors import DigestMismatch, NotFound, SetupFailed, TooLarge
from comfyward.files.objects import IN_MEMORY_BYTES, Blob, Objects, blob_key, view_key
from comfyward.store import files
from comfyward.store.db import now_ms
from tests.servers import S3
from tests.store.conftest import Store

BIG = bytes(range(256)) * (IN_MEMORY_BYTES // 256 + 4096)


@pytest.fixture(params=["directory", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    if request.param == "directory":
        return Objects(str(tmp_path / "objects"))
    server: S3 = request.getfixturevalue("s3")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return Objects(server.new_bucket(), server.url)


async def test_small_and_large_blobs_are_read_whole_and_in_ranges(objects: Objects) -> None:
    await objects.check()
    for data in (b"small", BIG):
        blob = await _store(objects, data)

        assert await objects.size_of(blob_key(blob.digest)) == len(data)
        assert await objects.read_all(blob_key(blob.digest)) == data
        assert await _all(await objects.read(blob_key(blob.digest), 2, 4)) == data[2:4]
        assert await _all(await objects.read(blob_key(blob.digest), 3)) == data[3:]


async def test_a_refused_upload_leaves_nothing(objects: Objects) -> None:
    with pytest.raises(DigestMismatch):
        await _store(objects, b"other", digest="a" * 64)
    with pytest.raises(TooLarge):
        await _store(objects, b"too long", limit=3)
    with pytest.raises(NotFound):
        await objects.read(blob_key("a" * 64))
    assert await objects.size_of(blob_key("a" * 64)) is None


async def test_removing_a_blob_removes_what_was_made_of_it(objects: Objects) -> None:
    blob = await _store(objects, b"picture")
    view = view_key(blob.digest, "webp-256")
    await objects.put_derived(view, b"small picture")

    await objects.remove_blob(blob.digest)
    await objects.remove_blob(blob.digest)  # may be repeated

    assert not await objects.has(blob_key(blob.digest))
    assert not await objects.has(view)


async def test_a_sweep_removes_what_nothing_needs_and_nothing_else(objects: Objects, store: Store) -> None:
    blobs = Blobs(store.db, objects, Quotas(store.db, Quota()))
    used, unused = [await blobs.put_bytes(data, "a.txt") for data in (b"used", b"unused")]
    await store.db.write(files.put, files.new_file(store.alice.id, "/input/a", used.digest, 4, "text/plain", now_ms()))

    assert await blobs.sweep(before=now_ms() + 1) == 1

    assert await objects.read_all(blob_key(used.digest)) == b"used"
    assert not await objects.has(blob_key(unused.digest))
    assert (await blobs.put_bytes(b"unused", "a.txt")).digest == unused.digest  # it can come again
    assert await objects.read_all(blob_key(unused.digest)) == b"unused"


async def test_a_url_hands_a_blob_out_with_the_headers_it_was_stored_with(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    objects = Objects(s3.new_bucket(), s3.url)
    blob = await _store(objects, b"a picture", name="sub/ComfyUI 1.png")

    url = await objects.get_url(blob_key(blob.digest))
    assert url is not None
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"a picture"
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["Content-Disposition"] == 'inline; filename="ComfyUI 1.png"'


async def test_blobs_served_by_the_server_have_no_direct_url(s3: S3, tmp_path: Path) -> None:
    for objects in (Objects(str(tmp_path)), Objects("s3://bucket", s3.url, direct=False)):
        assert await objects.get_url("blobs/aa") is None
        assert await objects.put_url("blobs/aa", 1) is None


@pytest.mark.parametrize(
    ("url", "endpoint", "says"),
    [
        ("ftp://bucket", None, "Write s3://BUCKET/PREFIX"),
        ("s3://absent-bucket", "{s3}", "Create the bucket, or check its name"),
        ("s3://bucket", "http://127.0.0.1:1", "Check that it can be reached"),
    ],
)
async def test_a_store_that_cannot_be_used_is_refused_with_what_to_change(
    s3: S3, monkeypatch: pytest.MonkeyPatch, url: str, endpoint: str | None, says: str
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SetupFailed) as refused:
        await Objects(url, endpoint and endpoint.format(s3=s3.url)).check()

    assert says in str(refused.value.hint)
    assert "\n" not in refused.value.message


async def _store(
    objects: Objects, data: bytes, *, limit: int = 1 << 30, digest: str | None = None, name: str = ""
) -> Blob:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1 << 20):
            yield data[start : start + (1 << 20)]

    async with objects.receive(pieces(), limit=limit, digest=digest, name=name) as received:
        await received.store()
        return received.blob


async def _all(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])
