"""Downloads of one large file beside aria2 (Debian's `aria2`): ours are hashed (blake3 and SHA-256) and made durable.

    python -m bench.downloads                             # 1 GiB from a loopback origin, as fast as it goes
    python -m bench.downloads --rate-mib 30               # at most 30 MiB/s over each connection
    python -m bench.downloads --size-mib 256 --rounds 5 --json out.json

The origin is a process of its own that answers ranges with sendfile. The programs take turns; figures are medians, and
the ratios of medians. `aria2c -x8` alone makes five connections, with `-s8` as many as ours; neither hashes nor syncs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import socketserver
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from comfyward.files.fetch import Fetch, Limits
from comfyward.files.guard import Guard
from comfyward.files.remote_file import RemoteFile
from comfyward.files.stop import Stop
from comfyward.runs.files import Url

CONNECTIONS = 8
STEP_BYTES = 1 << 20
SLICE_S = 0.01  # of a limited connection's bytes


class Origin(BaseHTTPRequestHandler):
    """Serves one file, over each connection at most at the rate."""

    protocol_version = "HTTP/1.1"
    path_served: Path
    bytes_per_s: float

    def do_GET(self) -> None:
        with self.path_served.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start, end = (int(found[1]), min(int(found[2] or size - 1), size - 1)) if found else (0, size - 1)
            self.send_response(206 if found else 200)
            self.send_header("ETag", '"one"')
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(end + 1 - start))
            if found:
                self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
            self.end_headers()
            self.wfile.flush()
            with contextlib.suppress(OSError):
                self._send(file.fileno(), start, end + 1)

    def _send(self, descriptor: int, at: int, end: int) -> None:
        step = int(self.bytes_per_s * SLICE_S) or STEP_BYTES
        began, first = time.monotonic(), at
        while at < end:
            at += os.sendfile(self.connection.fileno(), descriptor, at, min(step, end - at))
            if self.bytes_per_s:
                time.sleep(max(0.0, began + (at - first) / self.bytes_per_s - time.monotonic()))

    def log_message(self, *_: object) -> None:
        return


def serve(path: Path, bytes_per_s: float) -> None:
    """The origin's process: prints its port, and serves until its input ends."""
    Origin.path_served, Origin.bytes_per_s = path, bytes_per_s
    socketserver.TCPServer.request_queue_size = 64
    with ThreadingHTTPServer(("127.0.0.1", 0), Origin) as server:
        server.daemon_threads = True
        print(server.server_address[1], flush=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()


@contextlib.contextmanager
def origin(path: Path, bytes_per_s: float) -> Iterator[str]:
    """The URL of a file."""
    command = [sys.executable, "-m", "bench.downloads", "--serve", str(path), "--rate-mib", str(bytes_per_s / 2**20)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/file"
        process.stdin.close()


def ours(url: str, target: Path) -> None:
    remote = RemoteFile(Url(url), Guard.allowing(["127.0.0.1"]), 600, Stop())
    Fetch(remote, target, Limits(1 << 40, 600, CONNECTIONS)).run()


def aria2(*options: str) -> Callable[[str, Path], None]:
    def download(url: str, target: Path) -> None:
        command = [
            "aria2c",
            f"-x{CONNECTIONS}",
            *options,
            "-q",
            "--no-conf",
            "-d",
            str(target.parent),
            "-o",
            target.name,
        ]
        subprocess.run([*command, url], check=True)

    return download


def curl(url: str, target: Path) -> None:
    subprocess.run(["curl", "-sSf", "-o", str(target), url], check=True)


def contestants() -> dict[str, Callable[[str, Path], None]]:
    if shutil.which("aria2c"):
        return {"comfyward": ours, "aria2c -x8": aria2(), "aria2c -x8 -s8": aria2("-s8")}
    print("aria2c is not installed (Debian's package aria2): beside curl, over one connection")
    return {"comfyward": ours, "curl": curl}


def measure(url: str, folder: Path, rounds: int) -> dict[str, list[float]]:
    """The seconds of each download, by program; each round has all programs, in a changing order."""
    took_s: dict[str, list[float]] = {}
    programs = list(contestants().items())
    for number in range(rounds):
        for name, download in programs[number % len(programs) :] + programs[: number % len(programs)]:
            target = folder / "target"
            began = time.perf_counter()
            download(url, target)
            took_s.setdefault(name, []).append(time.perf_counter() - began)
            target.unlink()
            os.sync()  # nobody pays for another's writing
    return took_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--rate-mib", type=float, default=0, help="MiB/s over each connection; 0: any")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve, args.rate_mib * 2**20)
    with tempfile.TemporaryDirectory(prefix="cw-bench-") as folder:
        path = Path(folder) / "file"
        block = random.Random(1).randbytes(1 << 20)
        path.write_bytes(block * args.size_mib)
        with origin(path, args.rate_mib * 2**20) as url:
            took_s = measure(url, Path(folder), args.rounds)
    medians = {name: statistics.median(values) for name, values in took_s.items()}
    best = min(value for name, value in medians.items() if name != "comfyward")
    figures = {
        "size_mib": args.size_mib,
        "rate_mib_per_connection": args.rate_mib,
        "took_s": {name: [round(value, 3) for value in values] for name, values in took_s.items()},
        "mib_per_s": {name: round(args.size_mib / value) for name, value in medians.items()},
        "beside_the_fastest": round(best / medians["comfyward"], 2),
    }
    for name, value in medians.items():
        print(
            f"{name:16} {value:7.2f} s {args.size_mib / value:7.0f} MiB/s  {value / medians['comfyward']:5.2f} x ours"
        )
    print(json.dumps(figures))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
