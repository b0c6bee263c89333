"""Idle time of the GPU between queued runs that each need 1 s of download and 1 s of upload.

Each run brings its own file from a slow server on loopback (1 s), executes for about 1 s, and creates a file that is
sent to the server over a slow connection (1 s). For comparison: the idle time of the same runs one after another.
GPU idle = 1 - (execution time) / (first start to last end of execution). `python bench/pipeline.py [RUNS]`
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.stack import report, started
from tests.conftest import ROOT
from tests.servers import free_port
from tests.stack.graphs import node
from tests.stack.stack import Stack

DOWNLOAD_S = UPLOAD_S = 1.0
PIECES = 20
PIECE_BYTES = 50_000
OUTPUT_BYTES = 4 << 20


class SlowFiles(http.server.BaseHTTPRequestHandler):
    """Answers any path with 1 MB within a second."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(PIECES * PIECE_BYTES))
        self.end_headers()
        for _ in range(PIECES):
            time.sleep(DOWNLOAD_S / PIECES)
            self.wfile.write(b"x" * PIECE_BYTES)

    def log_message(self, *_: object) -> None:
        return


@contextlib.contextmanager
def slow_line(target_port: int) -> Iterator[int]:
    """A port that forwards connections; an upload of OUTPUT_BYTES through it takes UPLOAD_S."""
    loop, port = asyncio.new_event_loop(), free_port()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", target_port)

        async def relay(source: asyncio.StreamReader, sink: asyncio.StreamWriter, bytes_per_s: float) -> None:
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
                if len(data) > 8192:  # a file, not a message
                    await asyncio.sleep(len(data) / bytes_per_s)
            sink.close()

        up = relay(reader, upstream, OUTPUT_BYTES / UPLOAD_S)
        await asyncio.gather(up, relay(upstream_reader, writer, float("inf")), return_exceptions=True)

    def serve() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(asyncio.start_server(forward, "127.0.0.1", port))
        loop.run_forever()

    threading.Thread(target=serve, daemon=True).start()
    yield port
    loop.call_soon_threadsafe(loop.stop)


@contextlib.contextmanager
def worker(stack: Stack, port: int) -> Iterator[None]:
    """A worker that reaches the server over the slow connection."""
    token = stack.cli("tokens", "create", "bench").strip()
    environment = {**os.environ, **{f"COMFYWARD_{name.upper()}": value for name, value in stack.settings.items()}}
    command = [sys.executable, "-m", "comfyward", "worker", "--server", f"http://127.0.0.1:{port}", "--token", token]
    data_dir = str(stack.data_dir / "worker")
    with subprocess.Popen([*command, "--data-dir", data_dir], env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def graph(number: int) -> dict:
    """One second of steps that are never cached, and OUTPUT_BYTES of output."""
    return {
        "steps": node("TestSteps", steps=20 + number % 2),
        "save": node("TestBytes", images=["steps", 0], size=OUTPUT_BYTES),
    }


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), SlowFiles) as server,
        started(custom_nodes_dir=str(ROOT / "nodes"), fleet="none", accelerators="CPU") as stack,
        slow_line(stack.port) as port,
        worker(stack, port),
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = stack.wait_ready().client()
        client.run(graph(0))  # warm
        url = f"http://127.0.0.1:{server.server_address[1]}"
        ids = [client.submit(graph(n + 1), files={"/input/slow.bin": f"{url}/{n}"}) for n in range(runs)]
        done = [client.finish(run_id) for run_id in ids]
        server.shutdown()
    assert {run["status"] for run in done} == {"COMPLETED"}
    busy_ms = sum(run["run_time"] for run in done)
    spans = [(started_at(run), started_at(run) + run["run_time"] / 1000) for run in done]
    span_ms = (max(end for _, end in spans) - min(begin for begin, _ in spans)) * 1000
    uploads_s = sorted(completed(run) - started_at(run) - run["run_time"] / 1000 for run in done)
    others_ms = (DOWNLOAD_S + UPLOAD_S) * 1000
    figures = {
        "runs": runs,
        "execution_ms": busy_ms,
        "span_ms": round(span_ms),
        "median_upload_s": round(uploads_s[len(uploads_s) // 2], 2),
        "gpu_idle_percent": round((1 - busy_ms / span_ms) * 100, 2),
        "one_after_another_would_be_idle_percent": round(100 * others_ms / (others_ms + busy_ms / runs), 1),
        "goal": "<= 2 %",
    }
    report("pipeline", figures)


def started_at(run: dict) -> float:
    return datetime.datetime.fromisoformat(run["started_at"]).timestamp()


def completed(run: dict) -> float:
    return datetime.datetime.fromisoformat(run["completed_at"]).timestamp()


if __name__ == "__main__":
    main()
