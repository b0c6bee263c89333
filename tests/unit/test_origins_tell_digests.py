"""What an origin tells of a file: its digest as Hugging Face, S3, Civitai and the standards tell it, or nothing."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from comfyward.dispatch import origins
from comfyward.dispatch.origins import Origins
from comfyward.errors import Unavailable
from comfyward.files.guard import Guard
from comfyward.files.origin_digests import described, sha256_of
from comfyward.runs.files import Url
from tests.fakes.http import Origin, faucet, origin

MODEL = b"a model"
SHA256 = hashlib.sha256(MODEL).hexdigest()
BASE64 = base64.b64encode(hashlib.sha256(MODEL).digest()).decode()
NOTHING = base64.b64encode(hashlib.sha256(b"").digest()).decode()
LOOPBACK = Guard.allowing(["127.0.0.1"])


@pytest.fixture(scope="module")
def site() -> Iterator[Origin]:
    with origin() as running:
        yield running


@pytest.fixture(scope="module")
def cdn() -> Iterator[Origin]:
    """Another origin, to which the first one redirects."""
    with origin() as running:
        yield running


TOLD: dict[str, dict[str, str]] = {
    "a strong ETag of 64 digits": {"ETag": f'"{SHA256}"'},
    "in capitals": {"ETag": f'"{SHA256.upper()}"'},
    "S3's checksum": {"x-amz-checksum-sha256": BASE64},
    "Repr-Digest": {"Repr-Digest": f"sha-256=:{BASE64}:"},
    "one of several": {"Repr-Digest": f"md5=:AAAA:, sha-256=:{BASE64}:, sha-512=:AAAA:"},
    "Content-Digest": {"Content-Digest": f"sha-256=:{BASE64}:"},
    "the older Digest": {"Digest": f"SHA-256={BASE64}"},
    "Repr-Digest beside that of no content": {
        "Content-Digest": f"sha-256=:{NOTHING}:",
        "Repr-Digest": f"sha-256=:{BASE64}:",
    },
}
NOT_TOLD: dict[str, dict[str, str]] = {
    "nothing": {"ETag": '"abc"'},
    "a weak ETag": {"ETag": f'W/"{SHA256}"'},
    "an ETag of MD5": {"ETag": '"d41d8cd98f00b204e9800998ecf8427e"'},
    "an ETag without quotes": {"ETag": SHA256},
    "a checksum of parts": {"x-amz-checksum-sha256": f"{BASE64}-3"},
    "a checksum that is none": {"x-amz-checksum-sha256": "@@@@"},
    "a digest of another kind": {"Repr-Digest": "sha-512=:AAAA:"},
    "a digest of no content": {"Content-Digest": f"sha-256=:{NOTHING}:"},
    "encoded bytes": {"ETag": f'"{SHA256}"', "Content-Encoding": "gzip"},
}


@pytest.mark.parametrize("how", TOLD)
def test_it_is_told(how: str) -> None:
    assert sha256_of(200, _header(TOLD[how])) == SHA256


@pytest.mark.parametrize("how", NOT_TOLD)
def test_it_is_not_told(how: str) -> None:
    assert sha256_of(200, _header(NOT_TOLD[how])) is None


def _header(headers: dict[str, str]) -> Any:
    lowered = {name.lower(): value for name, value in headers.items()}
    return lambda name: lowered.get(name.lower())


async def test_hugging_face_tells_it_beside_a_redirect_that_is_not_followed(site: Origin, cdn: Origin) -> None:
    target = cdn.put("/cdn/model", MODEL)
    linked = {"Location": target, "X-Linked-Etag": f'"{SHA256}"', "ETag": f'"{"0" * 64}"'}
    site.put("/org/model/resolve/main/m.safetensors", b"", status=302, headers=linked)
    moved = {"Location": "/org/model/resolve/main/m.safetensors", "ETag": f'"{"1" * 64}"'}
    url = site.put("/old/model/resolve/main/m.safetensors", b"", status=307, headers=moved)

    assert await told(url) == SHA256
    assert [request.method for request in site.requests_to("/org/model/resolve/main/m.safetensors")] == ["HEAD"]
    assert cdn.requests == []


async def test_another_origin_is_not_asked(site: Origin, cdn: Origin) -> None:
    target = cdn.put("/elsewhere", MODEL, headers={"ETag": f'"{SHA256}"'})
    url = site.put("/away", b"", status=302, headers={"Location": target})

    assert await told(url) is None
    assert cdn.requests_to("/elsewhere") == []


async def test_s3_is_asked_for_its_checksum_with_the_callers_headers(site: Origin) -> None:
    url = site.put("/bucket/model", MODEL, headers={"x-amz-checksum-sha256": BASE64})

    assert await told(url, ("Authorization", "Bearer hers")) == SHA256
    [request] = site.requests_to("/bucket/model")
    assert request.headers["x-amz-checksum-mode"] == "ENABLED"
    assert request.headers["Authorization"] == "Bearer hers"


async def test_civitai_describes_its_files(site: Origin) -> None:
    place = "https://civitai.example/api/download/models/128713"
    files = [
        {"downloadUrl": place, "type": "Model", "metadata": {"fp": "fp16"}, "hashes": {"SHA256": SHA256.upper()}},
        {"downloadUrl": f"{place}?type=Model&format=PickleTensor", "hashes": {"SHA256": "F" * 64}},
    ]
    site.put("/api/v1/model-versions/128713", json.dumps({"files": files}).encode())
    site.put("/api/download/models/128713", b"", status=307, headers={"Location": "http://127.0.0.1:9/"})
    url = f"{site.url}/api/download/models/128713"

    assert await told(url) == SHA256
    assert await told(f"{url}?token=hers") == SHA256
    assert await told(f"{url}?format=PickleTensor&type=Model&token=hers") == "f" * 64
    assert await told(f"{url}?type=Model&fp=fp16") == SHA256
    assert await told(f"{url}?format=Other") is None
    assert await told(f"{url}?type=Model&fp=fp32") is None


@pytest.mark.parametrize(
    "description", [None, [], {}, {"files": 3}, {"files": [1]}, {"files": [{"hashes": {"SHA256": SHA256}}]}], ids=repr
)
def test_a_description_that_is_none_tells_nothing(description: Any) -> None:
    assert described("https://civitai.example/api/download/models/1", description) is None


async def test_a_description_that_is_nested_without_end_tells_nothing(site: Origin) -> None:
    site.put("/api/v1/model-versions/8", b"[" * 100_000)
    site.put("/api/download/models/8", MODEL)

    assert await told(f"{site.url}/api/download/models/8") is None


async def test_a_description_without_end_is_not_read(site: Origin) -> None:
    files = [{"downloadUrl": "/api/download/models/7", "hashes": {"SHA256": SHA256}}]
    site.put("/api/v1/model-versions/7", json.dumps({"files": files}).encode() + b" " * (1 << 20))
    site.put("/api/download/models/7", MODEL)

    assert await told(f"{site.url}/api/download/models/7") is None


@pytest.mark.parametrize("status", [401, 404, 405, 429, 500, 503])
async def test_an_origin_that_refuses_tells_nothing(site: Origin, status: int) -> None:
    url = site.put(f"/refused/{status}", MODEL, status=status, headers={"ETag": f'"{SHA256}"', "Retry-After": "1"})

    assert await told(url) is None
    assert len(site.requests_to(f"/refused/{status}")) == 1


async def test_an_origin_that_cannot_be_reached_tells_nothing(site: Origin) -> None:
    url = site.put("/private", MODEL, headers={"ETag": f'"{SHA256}"'})
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    assert await told(f"http://127.0.0.1:{port}/x") is None
    assert await Origins(Guard()).sha256_of(Url(url), "ada") is None
    assert site.requests_to("/private") == []


async def test_an_origin_that_circles_tells_nothing(site: Origin) -> None:
    url = site.put("/circle", b"", status=302, headers={"Location": "/circle"})

    assert await told(url) is None


async def test_an_origin_that_is_silent_tells_nothing_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "TIMEOUT_S", 0.5)
    with faucet(b"", b"") as silent, faucet(b"HTTP/1.1 200 OK\r\nX: ", b"x") as endless:
        assert await told(silent.url) is None
        assert await told(endless.url) is None


async def test_silent_origins_make_no_other_one_silent(site: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a worker could keep the places busy, and have its poisoned copy taken unseen."""
    monkeypatch.setattr(origins, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(origins, "PARALLEL", 1)
    busy, entered, over = Origins(LOOPBACK), threading.Event(), threading.Event()

    def ask(*_: object) -> None:
        entered.set()
        over.wait(30)

    monkeypatch.setattr(busy, "_ask", ask)
    url = site.put("/model", MODEL, headers={"ETag": f'"{SHA256}"'})
    assert await busy.sha256_of(Url(url), "ada") is None
    assert entered.is_set()

    with pytest.raises(Unavailable, match="Too many origins"):
        await busy.sha256_of(Url(url), "ada")

    over.set()
    monkeypatch.undo()
    assert await busy.sha256_of(Url(url), "ada") == SHA256


async def test_silent_origins_of_one_account_delay_no_other_account(site: Origin) -> None:
    url = site.put("/model", MODEL, headers={"ETag": f'"{SHA256}"'})
    asking = Origins(LOOPBACK)
    with faucet(b"", b"") as silent:
        of_mallory = [asyncio.create_task(asking.sha256_of(Url(silent.url), "mallory")) for _ in range(20)]
        await asyncio.sleep(0)  # all of them have asked
        assert await asking.sha256_of(Url(url), "ada") == SHA256
        assert not any(each.done() for each in of_mallory)
        for each in of_mallory:
            each.cancel()
        await asyncio.gather(*of_mallory, return_exceptions=True)


async def told(url: str, *headers: tuple[str, str]) -> str | None:
    return await Origins(LOOPBACK).sha256_of(Url(url, headers=headers), "ada")
