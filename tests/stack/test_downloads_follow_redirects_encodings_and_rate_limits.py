"""Addresses and answers as people and hosts write them, from the request to the run's error."""

from __future__ import annotations

import base64
import contextlib
import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.http import Origin, Receiver
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Stack

SECRET = "s3cr3t-of-bob"


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fetch_timeout_s="20", max_attempts="2").wait_ready()


def test_a_login_in_an_address_is_used_and_never_shown(stack: Stack, site: Origin, hook: Receiver) -> None:
    client = stack.client()
    site.put("/a%20b/%C3%A9.txt", gzip.compress(b"inside"), headers={"Content-Encoding": "gzip"})
    with_login = f"{site.url}/a b/é.txt".replace("//", f"//bob:{SECRET}@")
    address = hook.url.replace("//", f"//bob:{SECRET}@") + "/a b"

    run = client.run(fake_save("a"), files={"/input/a": with_login, "/input/b": {"url": with_login}}, webhook=address)
    failed = client.run(fake_save(), files={"/input/a": f"{site.url}/none".replace("//", f"//bob:{SECRET}@")})
    again = client.http.post(f"/api/v1/workflows/default/runs/{run['id']}/retry").json()["id"]

    assert run["status"] == client.finish(again)["status"] == "COMPLETED", run["error"]
    assert client.http.get(run["output"][0]["url"]).text == "inside"
    basic = f"Basic {base64.b64encode(f'bob:{SECRET}'.encode()).decode()}"
    told = [hook.next() for _ in range(4)]
    asked = [*site.requests, *told]
    assert {request.path for request in site.requests} == {"/a%20b/%C3%A9.txt", "/none"}
    assert {request.headers.get("Authorization") or request.headers.get("authorization") for request in asked} == {
        basic
    }
    assert {request.path for request in told} == {"/hook/a%20b"}
    pages = [f"/runs/{run['id']}", f"/runs/{run['id']}/code", "/account/webhooks", "/files"]
    shown = [stack.visitor().get(page).text for page in pages]
    shown += [client.http.get(path).text for path in ("/api/v1/runs", "/api/v1/webhooks/deliveries")]
    shown += [str(run), str(failed), stack.log(), stack.worker_log(), *(str(request.body) for request in told)]
    for text in shown:
        assert SECRET not in text
        assert basic not in text
    assert not [path for path, content in _written_below(stack.data_dir) if SECRET.encode() in content]


def _written_below(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """The files that are there for as long as it takes to read them, and their contents: a worker removes others."""
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names if ".db" not in name):
            with contextlib.suppress(OSError):
                if path.is_file():
                    yield path, path.read_bytes()


def test_retry_after_of_a_host_is_honoured(stack: Stack, site: Origin) -> None:
    url = site.put("/file", b"there", status=429, refusals=5, headers={"Retry-After": "1"})

    run = stack.client().run(fake_save("a"), files={"/input/a": url})

    assert (run["status"], run["attempt"]) == ("COMPLETED", 1), run["error"]
    assert len(site.requests) == 6


def test_a_host_that_stays_busy_ends_the_run_after_its_attempts(stack: Stack, site: Origin) -> None:
    said = b'{"error": {"message": "Too many requests from here"}}'
    url = site.put("/file", b"", status=503, refusal=said, headers={"Retry-After": "3600"})

    run = stack.client().run(fake_save("a"), files={"/input/a": url})

    assert (run["status"], run["end_reason"], run["attempt"]) == ("ERROR", "host_busy", 2)
    assert "answered 503: Too many requests from here. It asks to retry in 3600 s." in run["error"]["message"]
    assert run["run_time"] is None


def test_the_error_quotes_the_host(stack: Stack, site: Origin) -> None:
    said = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    url = site.put("/file", b"", status=403, refusal=said)

    run = stack.client().run(fake_save("a"), files={"/input/a": url})

    assert (run["end_reason"], run["attempt"]) == ("download", 1)
    assert run["error"]["message"].endswith("'127.0.0.1' answered 403: Request has expired.")


def test_a_long_value_is_not_sent_back_by_any_api(stack: Stack) -> None:
    client, long = stack.client(), "A" * 3_000_000
    graph = {"1": {"class_type": "FakeError", "inputs": {"message": ["2", 0]}}, long[:1000]: {"class_type": long}}
    answers = [
        client.post_run({"prompt": fake_save(), "files": {"/input/a": f"data:;base64,{long}*"}}),
        client.post_run({"prompt": fake_save(), "files": {"/input/a": long}}),
        client.post_run({"prompt": graph}),
        client.post_run({"prompt": fake_save(), "accelerator": long}),
        client.post_run({"prompt": fake_save(), "tags": long, "priority": long}),
        client.http.post("/api/v2/jobs", json={"workflow": graph}),
        client.http.post("/api/v2/jobs", json={"workflow": fake_save(), "metadata": {long: 7}}),
        client.http.post("/comfy/prompt", json={"prompt": graph}),
        client.http.post("/api/v1/imports", json={"path": long, "url": long}),
    ]

    for answer in answers:
        assert 400 <= answer.status_code < 500, answer.text[:500]
        assert len(answer.content) < 20_000
