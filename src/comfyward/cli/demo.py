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
from comfyward.cli.steps import waiting
from comfyward.client import Client, RunFailed, Source
from comfyward.comfy import tiny_models
from comfyward.comfy.install import Installation
from comfyward.comfy.releases import DEFAULT
from comfyward.errors import SetupFailed
from comfyward.sandbox import walls
from comfyward.store import accounts
from comfyward.store.db import now_ms
from comfyward.web.formatting import span
from comfyward.wording import plural
from comfyward.workflows.starters import CHECKPOINT, LORA, colours_graph, text_to_image_graph

READY_TIMEOUT_S = 300.0
POLL_S = 0.2


@click.command("demo")
@click.option("--out", type=click.Path(path_type=Path), default=Path("comfyward-demo"), show_default=True)
@data_dir_option
def command(out: Path, data_dir: Path | None) -> None:
    """Try it: a server, a real ComfyUI, two workflows, pictures and a video on disk.

    \b
    comfyward demo --out pictures
    """
    console = Console()
    home = settings_from(data_dir=data_dir)
    settings = settings_from(
        data_dir=home.data_dir / "demo",
        environments_dir=home.derived_environments_dir(),
        comfyui_version=home.comfyui_version or (None if home.comfyui else DEFAULT.version),
        fetch_allow=["127.0.0.1"],
    )
    _install_bubblewrap(console)
    installation = ensure_installed(settings)
    models = _make_models(console, installation, settings.data_dir / "models")
    with _file_server(models) as files_url, _server(settings.data_dir, settings.as_environment()) as url:
        with waiting(console, "Starting ComfyUI (about 15 s on the first run)"):
            _wait_ready(url)
        level = walls.choose(settings.sandbox)
        console.print(
            f"Server at {url}, a worker with ComfyUI {installation.version}, sandbox: {level}\n", soft_wrap=True
        )
        with Client(url, _key(settings.data_dir)) as client:
            demo = _Demo(console, client, out)
            demo.run("A picture and a video, without any model", colours_graph(), {})
            title = "Text to image, with a checkpoint and a LoRA by URL"
            demo.run(title, text_to_image_graph(), _model_urls(files_url))
    demo.print_results()


class _Demo:
    """The runs of a demo, shown live, and their saved outputs."""

    def __init__(self, console: Console, client: Client, out: Path) -> None:
        self._console, self._client, self._out = console, client, out
        self._saved: list[Path] = []

    def run(self, title: str, graph: dict[str, Any], files: dict[str, Source]) -> None:
        """Submits a run, shows its progress, and saves its outputs. Raises RunFailed."""
        self._console.print(f"[bold]{title}[/bold]")
        follow = Follow(self._console, shows_pictures=False)
        run = follow.run(self._client, self._client.submit(graph, files=files).id, classes_of(graph))
        if not run.succeeded:
            raise RunFailed(run)
        saved = [path.absolute() for path in follow.download(self._client, run, self._out)]
        self._saved += saved
        self._console.print(
            f"  {run.status} in {span(run.data['run_time'])} on {run.data['device']}: {plural(len(saved), 'file')}\n"
        )

    def print_results(self) -> None:
        """Prints the saved files and the next steps."""
        self._console.print("\nSaved:")
        for path in self._saved:
            self._console.print(f"  {path}", soft_wrap=True)
        activate = Path(sys.executable).with_name("activate")
        picture = next((path for path in self._saved if path.suffix == ".png"), Path("graph.json"))
        needs_activation = shutil.which("comfyward") is None and activate.exists()
        self._console.print(
            "\nNext:\n"
            + (f"  source {activate}    # in each shell\n" if needs_activation else "")
            + "  comfyward serve    # the service and its website, at http://127.0.0.1:8600\n"
            "In a second shell:\n"
            "  export COMFYWARD_API_KEY=$(comfyward keys create my-first-key)\n"
            f"  comfyward run {picture} --out again    # any file that carries a workflow\n"
            "Then docs/quickstart.md: your own workflow over the API.",
            soft_wrap=True,
        )


def _model_urls(files_url: str) -> dict[str, Source]:
    return {
        f"/models/checkpoints/{CHECKPOINT}": f"{files_url}/{CHECKPOINT}",
        f"/models/loras/{LORA}": f"{files_url}/{LORA}",
    }


def _install_bubblewrap(console: Console) -> None:
    """Installs the strongest sandbox if this user may; otherwise a weaker one is used, and shown."""
    if walls.choose("auto") is walls.Level.BUBBLEWRAP or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    with waiting(console, "Installing bubblewrap, for the sandbox"):
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", "bubblewrap"]):
            subprocess.run(["apt-get", *arguments], capture_output=True, check=False)


def _make_models(console: Console, installation: Installation, folder: Path) -> Path:
    if (folder / LORA).exists():
        return folder
    script = tiny_models.__file__
    with waiting(console, "Creating a tiny checkpoint and LoRA with random weights"):
        command = [str(installation.python), str(script), str(installation.source), str(folder)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise SetupFailed(f"The demo's models could not be created:\n{made.stderr[-2000:]}")
    return folder


@contextmanager
def _file_server(folder: Path) -> Iterator[str]:
    """The URL of a folder served over HTTP, as a host of models serves it."""

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


def _key(data_dir: Path) -> str:
    with open_database(data_dir) as db:
        admin, _ = asyncio.run(db.write(accounts.ensure_admin, now_ms()))
        return asyncio.run(db.write(accounts.create_key, admin.id, "demo", now_ms()))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
