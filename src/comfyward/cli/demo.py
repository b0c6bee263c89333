"""comfyward demo"""

from __future__ import annotations

import asyncio
import functools
import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import httpx2
from rich.console import Console

from comfyward.cli.comfyui_setup import ensure_installed
from comfyward.cli.database import open_database
from comfyward.cli.follow import Follow
from comfyward.cli.options import data_dir_option, settings_from
from comfyward.cli.run import classes_of
from comfyward.client import Client, RunFailed, Source
from comfyward.comfy import sandbox, tiny_models
from comfyward.comfy.install import Installation
from comfyward.errors import SetupFailed
from comfyward.store import accounts
from comfyward.store.db import now_ms
from comfyward.wording import plural
from comfyward.workflows.starters import CHECKPOINT, LORA, colours_graph, text_to_image_graph

READY_TIMEOUT_S = 300.0
POLL_S = 0.2


@click.command("demo")
@click.option("--out", type=click.Path(path_type=Path), default=Path("comfyward-demo"), show_default=True)
@data_dir_option
def command(out: Path, data_dir: Path | None) -> None:
    """See it work: a server, a real ComfyUI, two workflows, pictures and a video on disk.

    \b
    comfyward demo --out pictures
    """
    console = Console()
    home = settings_from(data_dir=data_dir)
    environments = home.derived_environments_dir()
    settings = settings_from(data_dir=home.data_dir / "demo", environments_dir=environments, fetch_allow=["127.0.0.1"])
    _offer_bubblewrap(console)
    installation = ensure_installed(settings)
    models = _make_models(console, installation, settings.data_dir / "models")
    with _file_server(models) as files_url, _server(settings.data_dir, settings.as_environment()) as url:
        with console.status("Starting ComfyUI (about 15 s on the first run)"):
            _wait_ready(url)
        level = sandbox.choose(settings.sandbox)
        console.print(
            f"Server at {url}, a worker with ComfyUI {installation.version}, sandbox: {level}\n", soft_wrap=True
        )
        with Client(url, _key(settings.data_dir)) as client:
            saved = [
                *_run(console, client, out, "A picture and a video, without any model", colours_graph(), {}),
                *_run(
                    console,
                    client,
                    out,
                    "Text to image, with a checkpoint and a LoRA by URL",
                    text_to_image_graph(),
                    _model_urls(files_url),
                ),
            ]
    console.print("\nSaved:")
    for path in saved:
        console.print(f"  {path}", soft_wrap=True)
    activate = Path(sys.executable).with_name("activate")
    is_to_be_activated = shutil.which("comfyward") is None and activate.exists()
    console.print(
        "\nNext:\n"
        + (f"  source {activate}\n" if is_to_be_activated else "")
        + "  comfyward serve                       start the service and its website at http://127.0.0.1:8600\n"
        "  comfyward keys create my-first-key    make an API key for it\n"
        "  comfyward run graph.json --out out    run a graph of your own\n"
        "  docs/quickstart.md                    your own workflow, over the API",
        soft_wrap=True,
    )


def _model_urls(files_url: str) -> dict[str, Source]:
    return {
        f"/models/checkpoints/{CHECKPOINT}": f"{files_url}/{CHECKPOINT}",
        f"/models/loras/{LORA}": f"{files_url}/{LORA}",
    }


def _offer_bubblewrap(console: Console) -> None:
    """The strongest sandbox, where this user may install it; without it a weaker level is used, and said."""
    if sandbox.choose("auto") is sandbox.Level.BUBBLEWRAP or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    with console.status("Installing bubblewrap, for the sandbox"):
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", "bubblewrap"]):
            subprocess.run(["apt-get", *arguments], capture_output=True, check=False)


def _make_models(console: Console, installation: Installation, folder: Path) -> Path:
    if (folder / LORA).exists():
        return folder
    script = tiny_models.__file__
    with console.status("Making a tiny checkpoint and LoRA with random weights"):
        command = [str(installation.python), str(script), str(installation.source), str(folder)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise SetupFailed(f"The demo's models could not be made:\n{made.stderr[-2000:]}")
    return folder


@contextmanager
def _file_server(folder: Path) -> Iterator[str]:
    """The models over HTTP, as any host of models would serve them."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextmanager
def _server(data_dir: Path, environment: dict[str, str]) -> Iterator[str]:
    port = _free_port()
    log_path = data_dir / "server.log"
    data_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "comfyward", "serve", "--port", str(port), "--log-level", "info"]
    with log_path.open("w") as log:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    message = "the server does not answer"
    while time.monotonic() < deadline:
        try:
            answer = httpx2.get(f"{url}/readyz")
            if answer.status_code == 200:
                return
            message = answer.json()["message"]
        except (httpx2.TransportError, ValueError, KeyError):
            pass
        time.sleep(POLL_S)
    raise SetupFailed(f"No worker became ready: {message}")


def _run(
    console: Console, client: Client, out: Path, title: str, graph: dict[str, Any], files: dict[str, Source]
) -> list[Path]:
    """Submits one run, shows it live, and saves its outputs."""
    console.print(f"[bold]{title}[/bold]")
    follow = Follow(console, shows_pictures=False)
    run = follow.run(client, client.submit(graph, files=files).id, classes_of(graph))
    if not run.succeeded:
        raise RunFailed(run)
    saved = [path.absolute() for path in follow.download(client, run, out)]
    console.print(
        f"  {run.status} in {run.data['run_time']} ms on {run.data['device']}: {plural(len(saved), 'file')}\n"
    )
    return saved


def _key(data_dir: Path) -> str:
    with open_database(data_dir) as db:
        admin, _ = asyncio.run(db.write(accounts.ensure_admin, now_ms()))
        return asyncio.run(db.write(accounts.create_key, admin.id, "demo", now_ms()))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
