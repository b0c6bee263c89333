"""What comfyward adds to a run on the device, and how long the device waits between runs."""

from __future__ import annotations

import asyncio
import http.server
import statistics
import tempfile
import threading
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from bench.gpu import graphs
from bench.gpu.lab import Lab
from bench.gpu.report import Outcome
from bench.gpu.server import Account, Failed, facts_of

RUNS, RUNS_WITHOUT_GPU = 100, 20
LINE, LINE_WITHOUT_GPU = 8, 4  # runs in the pipeline
PIECES, PIECE = 20, b"x" * 50_000


def overhead(lab: Lab) -> Outcome:
    """Milliseconds of a trivial warm run: of ComfyUI itself, and through /api/v1, in turn."""
    account, runs = lab.account("warm"), RUNS if lab.has_gpu else RUNS_WITHOUT_GPU
    account.run(graphs.picture(0))  # a ComfyUI of this account
    figures = asyncio.run(_compare(lab, account, runs))
    return Outcome(figures, () if lab.has_gpu else ("beside a GPU: no GPU",))


async def _compare(lab: Lab, account: Account, runs: int) -> dict[str, Any]:
    socket = max(Path(tempfile.gettempdir()).glob("cw-*/comfyui.sock"), key=lambda path: path.stat().st_mtime)
    workers = lab.server().data_dir / "workers"
    direct: list[float] = []
    through: list[float] = []
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session,
        session.ws_connect("http://c/ws?clientId=gpucheck") as messages,
    ):
        for number in range(runs):
            began = time.perf_counter()
            await _direct(session, messages, graphs.picture(2 * number))
            direct.append(time.perf_counter() - began)
            _forget_pictures(workers)
            began = time.perf_counter()
            await asyncio.to_thread(account.run, graphs.picture(2 * number + 1))
            through.append(time.perf_counter() - began)
    bare_ms, v1_ms = (round(statistics.median(times) * 1000, 2) for times in (direct, through))
    return {"runs": runs, "comfyui_ms": bare_ms, "v1_ms": v1_ms, "added_ms": round(v1_ms - bare_ms, 2)}


def _forget_pictures(workers: Path) -> None:
    """Removes what ComfyUI itself was asked for: it would be an output of the next run."""
    for output in workers.glob("*/comfyui-*/output"):
        for file in filter(Path.is_file, output.iterdir()):
            file.unlink()


async def _direct(
    session: aiohttp.ClientSession, messages: aiohttp.ClientWebSocketResponse, graph: graphs.Graph
) -> None:
    """One run over ComfyUI's own API, from submission to history."""
    prompt_id = str(uuid.uuid4())
    body = {"prompt": graph, "prompt_id": prompt_id, "client_id": "gpucheck"}
    async with session.post("http://c/prompt", json=body) as answer:
        answer.raise_for_status()
    async for message in messages:
        said = message.json() if message.type is aiohttp.WSMsgType.TEXT else {}
        if said.get("type") == "executing" and said["data"]["node"] is None:
            break
    async with session.get(f"http://c/history/{prompt_id}") as answer:
        if (await answer.json())[prompt_id]["status"]["status_str"] != "success":
            raise Failed("ComfyUI itself failed")


class _SlowFiles(http.server.BaseHTTPRequestHandler):
    """Answers any path with 1 MB within a second."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(PIECES * len(PIECE)))
        self.end_headers()
        for _ in range(PIECES):
            time.sleep(1 / PIECES)
            self.wfile.write(PIECE)

    def log_message(self, *_: object) -> None:
        return


def pipeline(lab: Lab) -> Outcome:
    """Runs of a second, each with a download of a second: the part of the time in which the device waits."""
    account, runs = lab.account("warm"), LINE if lab.has_gpu else LINE_WITHOUT_GPU
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _SlowFiles) as files:
        threading.Thread(target=files.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{files.server_address[1]}"
        graph = graphs.of("GpuCheckSleep", seconds=1.0)
        ids = [account.submit(graph, files={"/input/slow.bin": f"{url}/{n}"}) for n in range(runs)]
        done = [account.ended(run_id) for run_id in ids]
        files.shutdown()
    for run in done:
        facts_of(run)
    begins = [datetime.fromisoformat(run["started_at"]).timestamp() for run in done]
    ends = [begin + run["run_time"] / 1000 for begin, run in zip(begins, done, strict=True)]
    busy_s, span_s = sum(run["run_time"] for run in done) / 1000, max(ends) - min(begins)
    figures = {"runs": runs, "busy_s": round(busy_s, 2), "idle_percent": round(100 * (1 - busy_s / span_s), 1)}
    return Outcome(figures, () if lab.has_gpu else ("the idle time of a GPU: no GPU",))
