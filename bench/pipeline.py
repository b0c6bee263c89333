"""How long the GPU is idle between queued runs that each need 1 s of download, beside the same runs back to back.

Each run brings a file of its own from a slow server on loopback (1 s), executes for about 1 s, and leaves an output.
GPU idle = 1 - (execution time) / (first start to last end). `python bench/pipeline.py [RUNS]`
"""

from __future__ import annotations

import datetime
import http.server
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.stack import report, started
from tests.conftest import ROOT
from tests.stack.graphs import node

DOWNLOAD_S = 1.0
PIECES = 20
PIECE_BYTES = 50_000


class SlowFiles(http.server.BaseHTTPRequestHandler):
    """Answers any path with 1 MB that takes a second."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(PIECES * PIECE_BYTES))
        self.end_headers()
        for _ in range(PIECES):
            time.sleep(DOWNLOAD_S / PIECES)
            self.wfile.write(b"x" * PIECE_BYTES)

    def log_message(self, *_: object) -> None:
        return


def graph(number: int) -> dict:
    """One second of steps that no cache can answer, and a picture."""
    return {
        "steps": node("TestSteps", steps=20 + number % 2),
        "save": node("SaveImage", images=["steps", 0], filename_prefix=f"run{number}"),
    }


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), SlowFiles) as server,
        started(custom_nodes_dir=str(ROOT / "nodes")) as stack,
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
    span_ms = (max(map(completed, done)) - min(map(began, done))) * 1000
    idle = 1 - busy_ms / span_ms
    figures = {
        "runs": runs,
        "execution_ms": busy_ms,
        "span_ms": round(span_ms),
        "gpu_idle_percent": round(idle * 100, 2),
        "one_after_another_would_be_idle_percent": round(
            100 * DOWNLOAD_S * 1000 / (DOWNLOAD_S * 1000 + busy_ms / runs), 1
        ),
        "goal": "<= 2 %",
    }
    report("pipeline", figures)


def began(run: dict) -> float:
    return datetime.datetime.fromisoformat(run["started_at"]).timestamp()


def completed(run: dict) -> float:
    return datetime.datetime.fromisoformat(run["completed_at"]).timestamp()


if __name__ == "__main__":
    main()
