"""comfyward.client: submit, follow, download, upload by digest; the same for code that waits and code that awaits."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from PIL import Image

from comfyward.client import ApiError, AsyncClient, Client, RunFailed, Unreachable
from tests.servers import free_port
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_wait, load_and_save, node, picture, slow
from tests.stack.stack import Client as PlainClient
from tests.stack.stack import Stack


@pytest.fixture
def red(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    Image.new("RGB", (8, 8), "red").save(path)
    return path


def test_from_a_local_picture_to_a_downloaded_one(real: Stack, client: PlainClient, red: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    with Client(real.url, client.key) as comfyward:
        run = comfyward.submit(load_and_save("red.png"), files={"/input/red.png": red}, tags=["one"], priority=3)
        events = list(comfyward.follow(run.id))
        run = comfyward.wait(run.id)
        saved = comfyward.download(run, tmp_path / "out", lambda *progress: seen.append(progress))

        assert (run.status, run.data["tags"], run.data["priority"]) == ("COMPLETED", ["one"], 3)
        assert [event.data["state"] for event in events if event.type == "status"] == [
            "queued",
            "assigned",
            "running",
            "succeeded",
        ]
        assert saved == [tmp_path / "out" / "copy_00001_.png"]
        assert seen[-1] == ("copy_00001_.png", saved[0].stat().st_size, saved[0].stat().st_size)
        with Image.open(saved[0]) as copy:
            assert copy.getpixel((0, 0)) == (255, 0, 0)
        assert comfyward.find(limit=1)[0].id == run.id
        again = comfyward.retry(run.id)
        assert comfyward.wait(again.id).succeeded
        comfyward.delete(again.id)
        with pytest.raises(ApiError) as gone:
            comfyward.get(again.id)
        assert (gone.value.status, gone.value.code) == (404, "not_found")
        assert "got prompt" in comfyward.log(run.id)
        assert comfyward.accelerators()[0]["name"] == "CPU"


async def test_the_same_awaited(real: Stack, client: PlainClient, tmp_path: Path) -> None:
    async with AsyncClient(real.url, client.key) as comfyward:
        run = await comfyward.run(picture(prefix="awaited"))
        [path] = await comfyward.download(run, tmp_path)
        running = await comfyward.submit(slow(2000))
        async for event in comfyward.follow(running.id):
            if event.type == "progress":
                await comfyward.cancel(running.id)
        cancelled = await comfyward.get(running.id)

    assert path.read_bytes()[:4] == b"\x89PNG"
    assert (cancelled.status, cancelled.end_reason) == ("ERROR", "cancelled")


def test_bytes_that_the_server_has_are_not_sent_again(
    real: Stack, client: PlainClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sent(source: Path) -> None:
        raise AssertionError(f"{source} was sent again")

    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(3 << 20))
    with Client(real.url, client.key) as comfyward:
        comfyward.upload("/input/first.bin", large)
        monkeypatch.setattr("comfyward.client.asynchronous._chunks", sent)
        comfyward.upload("/input/second.bin", large)

    paths = {file["path"]: file["digest"] for file in client.http.get("/api/v1/files").json()}
    assert paths["/input/first.bin"] == paths["/input/second.bin"]


def test_failures_are_errors_with_a_reason(real: Stack, client: PlainClient) -> None:
    fails = {"1": node("TestFails"), "2": node("SaveImage", images=["1", 0], filename_prefix="x")}
    with Client(real.url, client.key) as comfyward:
        with pytest.raises(RunFailed, match="always fails") as failed:
            comfyward.run(fails)
        with pytest.raises(ApiError, match="is not installed") as refused:
            comfyward.run({"1": node("Nothing")})
    with Client(real.url, "cw_guess") as stranger, pytest.raises(ApiError) as unknown:
        stranger.run(picture())

    assert failed.value.run.end_reason == "node_error"
    assert refused.value.details["node_errors"]["1"]["class_type"] == "Nothing"
    assert unknown.value.status == 401


def test_a_server_that_is_not_there_is_said_to_be_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfyward.client.transport.FIRST_PAUSE_S", 0.001)
    with Client(f"http://127.0.0.1:{free_port()}", "cw_x") as comfyward, pytest.raises(Unreachable):
        comfyward.find()


def test_a_restart_of_the_server_is_not_noticed(start_fake: StartFake, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = start_fake(lease_s="3").wait_ready()
    refused, is_back = threading.Event(), threading.Event()

    async def until_it_is_back(failures: int, error: Exception) -> None:
        if failures > 1:  # the first is the stream that broke
            refused.set()
            await asyncio.to_thread(is_back.wait)

    def come_back() -> None:
        refused.wait()
        stack.start()
        is_back.set()

    monkeypatch.setattr("comfyward.client.asynchronous.back_off", until_it_is_back)
    events = []
    with Client(stack.url, stack.client().key) as comfyward:
        run = comfyward.submit(fake_wait(5))
        for event in comfyward.follow(run.id):
            events.append(event)
            if event.type == "status" and event.data["state"] == "running" and event.data["attempt"] == 1:
                stack.kill()
                threading.Thread(target=come_back).start()
        run = comfyward.wait(run.id)

    assert refused.is_set()
    assert run.succeeded
    numbers = [event.seq for event in events if event.seq is not None]
    assert numbers == list(range(1, len(numbers) + 1))  # each stored event once, and in order
