"""What a worker or a browser does with a URL of the object store: what it was signed for, in its time, and no more."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from comfyward.errors import SetupFailed
from comfyward.files.objects import URL_LASTS, Objects, blob_key
from tests.servers import S3, SignedRequestsOnly, signed_s3
from tests.store.conftest import sqlite_with_tables, store

__all__ = ["sqlite_with_tables", "store"]

MINE, THEIRS = blob_key("a" * 64), blob_key("b" * 64)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[S3, SignedRequestsOnly]]:
    with signed_s3() as running:
        yield running


@pytest.fixture
def objects(server: tuple[S3, SignedRequestsOnly], monkeypatch: pytest.MonkeyPatch) -> Objects:
    found, application = server
    application.ahead_s = 0
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return Objects(found.new_bucket(), found.url)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: object) -> str:
    return f"sqlite:///{tmp_path}/test.db"


def asked(url: str, method: str = "GET", data: bytes | None = None, **headers: str) -> int:
    headers = {"Content-Type": "application/octet-stream", **headers}
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


async def test_a_wrong_secret_is_refused_with_what_to_check(
    server: tuple[S3, SignedRequestsOnly], objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    await objects.check()
    bucket = server[0].new_bucket()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")

    with pytest.raises(SetupFailed) as refused:
        await Objects(bucket, server[0].url).check()

    assert "Check the credentials" in str(refused.value.hint)


async def test_a_url_signed_with_a_wrong_secret_opens_nothing(
    server: tuple[S3, SignedRequestsOnly], objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    await objects.put(MINE, b"mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    forged = await Objects(objects._url, server[0].url).get_url(MINE)

    assert forged is not None
    assert asked(forged) == 403


TAMPERED: dict[str, Callable[[str], str]] = {
    "another object": lambda url: url.replace("a" * 64, "b" * 64).replace("/aa/", "/bb/"),
    "another signature": lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"),
    "no signature": lambda url: url.partition("&X-Amz-Signature")[0],
    "a longer time": lambda url: url.replace("X-Amz-Expires=3600", "X-Amz-Expires=36000"),
    "a later date": lambda url: url.replace("X-Amz-Date=20", "X-Amz-Date=21"),
    "another question": lambda url: f"{url}&versionId=1",
    "the bucket": lambda url: url.replace(f"/comfyward/{MINE}", "/"),
}


@pytest.mark.parametrize("tampered", TAMPERED)
async def test_a_tampered_url_opens_nothing(objects: Objects, tampered: str) -> None:
    await objects.put(MINE, b"mine")
    await objects.put(THEIRS, b"theirs")
    url = await objects.get_url(MINE)
    assert url is not None
    assert asked(url) == 200

    changed = TAMPERED[tampered](url)

    assert changed != url
    assert asked(changed) == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_url_to_read_changes_nothing(objects: Objects, method: str) -> None:
    await objects.put(MINE, b"mine")
    url = await objects.get_url(MINE)
    assert url is not None

    assert asked(url, method, b"other") == 403

    assert await objects.read_all(MINE) == b"mine"


async def test_a_url_to_write_reads_and_removes_nothing(objects: Objects) -> None:
    url = await objects.put_url(MINE, 4)
    assert url is not None
    assert asked(url, "PUT", b"mine") == 200

    assert [asked(url, method) for method in ("GET", "DELETE")] == [403, 403]
    assert asked(url.replace("a" * 64, "b" * 64).replace("/aa/", "/bb/"), "PUT", b"theirs") == 403
    assert await objects.size_of(THEIRS) is None


async def test_a_url_ends_with_its_time(server: tuple[S3, SignedRequestsOnly], objects: Objects) -> None:
    await objects.put(MINE, b"mine")
    reads, writes = await objects.get_url(MINE), await objects.put_url(MINE, 4)
    assert reads is not None
    assert writes is not None

    server[1].ahead_s = URL_LASTS.total_seconds() - 60
    assert [asked(reads), asked(writes, "PUT", b"mine")] == [200, 200]
    server[1].ahead_s = URL_LASTS.total_seconds() + 1
    assert [asked(reads), asked(writes, "PUT", b"late")] == [403, 403]

    assert await objects.read_all(MINE) == b"mine"
