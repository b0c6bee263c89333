"""What the checks share: the machine, the folder for what they leave, one server, and the device."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.gpu import gpu
from bench.gpu.server import Account, Failed, Server, end

PACK = Path(__file__).with_name("pack")
CHECKPOINTS = ("gpucheck-a.safetensors", "gpucheck-b.safetensors")
SMALL = "SMALL"  # the pool whose worker gives its ComfyUI little memory
RESERVED = '["--reserve-vram", "1.75"]'  # by which the pack knows it
BLOCKS = 92  # of a checkpoint of 6 GB


@dataclass
class Lab:
    """`has_gpu` is False where only the processor is there, and what needs a GPU is not shown."""

    comfyui: Path
    python: Path  # ComfyUI's, which has torch
    out: Path
    has_gpu: bool
    _server: Server | None = None
    _making: subprocess.Popen[bytes] | None = None
    _small: subprocess.Popen[bytes] | None = None
    pool: str = ""
    idle_bytes: int = field(default=0)

    @property
    def models(self) -> Path:
        return self.out / "work" / "models"

    @property
    def settings(self) -> dict[str, str]:
        return {
            "comfyui": str(self.comfyui),
            "comfyui_python": str(self.python),
            "custom_nodes_dir": str(PACK),
            "model_dirs": str(self.models),
            "fetch_allow": "127.0.0.1",
        }

    def begin(self) -> None:
        """Has the checkpoints made while the first checks go on."""
        (self.models / "checkpoints").mkdir(parents=True, exist_ok=True)
        self.idle_bytes = gpu.used_bytes() if self.has_gpu else 0
        program, blocks = Path(__file__).with_name("checkpoint.py"), BLOCKS if self.has_gpu else 0
        made = [str(self.comfyui), str(self.models / "checkpoints"), str(blocks), *CHECKPOINTS]
        with (self.out / "checkpoints.log").open("ab") as log:
            self._making = subprocess.Popen([str(self.python), str(program), *made], stdout=log, stderr=log)

    def checkpoints(self) -> list[Path]:
        """The checkpoints, once they are made."""
        assert self._making is not None
        if self._making.wait() != 0:
            raise Failed(f"no checkpoint could be made: {(self.out / 'checkpoints.log').read_text()[-500:]}")
        return [self.models / "checkpoints" / name for name in CHECKPOINTS]

    def server(self) -> Server:
        """The server of all checks, started anew if a check left it broken."""
        if self._server is not None and not self._server.is_answering():
            self._server.stop()
            self._server = None
        if self._server is None:
            self.checkpoints()
            pools = {"accelerators": f'["{SMALL}"]', "larger_pools": f'{{"{SMALL}": "{self.pool}"}}'}
            self._server = Server(self.out / "work" / f"server-{time.monotonic_ns()}", {**self.settings, **pools})
            self._server.start()
        return self._server

    def account(self, name: str | None = None) -> Account:
        return self.server().account(name)

    def has_small_worker(self) -> None:
        """Returns once another worker on the same device serves SMALL, whose ComfyUI has little memory."""
        server, admin = self.server(), self.account()
        if self._small is None or self._small.poll() is not None:
            token = server.command("tokens", "create", "small").splitlines()[-1]
            self._small = server.worker(SMALL, token, comfyui_args=RESERVED)
        server.wait_for_worker(admin, SMALL)

    def end_small_worker(self) -> None:
        end(self._small)
        self._small = None

    def close(self) -> None:
        self.end_small_worker()
        if self._server is not None:
            self._server.stop()
        if self._making is not None and self._making.poll() is None:
            self._making.kill()
