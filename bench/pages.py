"""Size and server time of each page of the website: `python -m bench.pages`.

Starts a server with the fake ComfyUI, fills it with 2,000 runs of 20 workflows, and requests each page like a browser
with an empty cache. Times are compared with an empty answer of the same server (`/healthz`).
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx2

from tests.conftest import FAKE_COMFYUI
from tests.stack.graphs import fake_save
from tests.stack.stack import Stack

ROUNDS = 30
WORKFLOWS, RUNS = 20, 2000
MAX_BYTES = 100_000
SETTINGS = {"comfyui": str(FAKE_COMFYUI), "comfyui_python": sys.executable, "editor": "false"}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="cw-pages-") as folder:
        stack = Stack(Path(folder), SETTINGS)
        try:
            stack.start().wait_ready()
            measure(stack)
        finally:
            stack.close()


def measure(stack: Stack) -> None:
    client, visitor = stack.client(), stack.visitor()
    made = [
        client.http.post("/api/v1/workflows", json={"name": f"Workflow {number}", "prompt": fake_save()}).json()["id"]
        for number in range(WORKFLOWS)
    ]
    runs = [client.post_run({"prompt": fake_save(f"run {n}")}, made[n % WORKFLOWS]).json()["id"] for n in range(RUNS)]
    client.finish(runs[-1])
    base = median_ms(visitor, "/healthz")
    print(f"{'page':28} {'server ms':>10} {'x empty':>8} {'html':>8} {'all files':>10} {'requests':>9}")
    for path in (
        "/login",
        "/workflows",
        "/workflows/new",
        f"/workflows/{made[0]}",
        f"/workflows/{made[0]}/api",
        "/explore",
        "/runs",
        "/runs?status=done",
        f"/runs/{runs[0]}",
        f"/runs/{runs[0]}/api",
        "/files",
        "/account",
        "/account/webhooks",
        "/account/usage",
        "/account/security",
        "/fleet",
        "/fleet/users",
    ):
        took = median_ms(visitor, path)
        html, everything, requests = weight(visitor, path)
        name = path.replace(made[0], "ID").replace(runs[0], "ID")
        mark = "" if everything <= MAX_BYTES else "  over the goal"
        print(f"{name:28} {took:10.1f} {took / base:8.1f} {html:8} {everything:10} {requests:9}{mark}")


def median_ms(visitor: httpx2.Client, path: str) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        visitor.get(path).raise_for_status()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def weight(visitor: httpx2.Client, path: str) -> tuple[int, int, int]:
    """(bytes of the page, bytes including its scripts and styles, requests); bytes are compressed, as sent."""
    html, text = sent(visitor, path)
    files = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', text))
    return html, html + sum(sent(visitor, file)[0] for file in files), 1 + len(files)


def sent(visitor: httpx2.Client, path: str) -> tuple[int, str]:
    with visitor.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
        body = b"".join(answer.iter_raw())
    return len(body), visitor.get(path).text


if __name__ == "__main__":
    main()
