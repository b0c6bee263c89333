"""One ComfyUI process: its folders, command line, sandbox and log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfyward.comfy import private_copy, removal, sandbox
from comfyward.comfy.install import Installation
from comfyward.errors import SetupFailed
from comfyward.runs.log import plain

EXTENSION_DIR = Path(__file__).parent / "extension"
READY_TIMEOUT_S = 300.0
READY_POLL_S = 0.02
STOP_GRACE_S = 5.0
LOG_TAIL_LENGTH = 256 << 10
LOG_READ_BYTES = 4 << 20  # most of a log may be progress bars that overwrite themselves
LOG_LIMIT_BYTES = 64 << 20

# ComfyUI's own kinds of models. Their folders exist from the start: one created later is not always noticed.
MODEL_FOLDERS = (
    *("checkpoints", "configs", "loras", "vae", "text_encoders", "clip", "diffusion_models", "unet", "clip_vision"),
    *("style_models", "embeddings", "diffusers", "vae_approx", "controlnet", "t2i_adapter", "gligen", "upscale_models"),
    *("latent_upscale_models", "hypernetworks", "photomaker", "classifiers", "model_patches", "audio_encoders"),
)

# Folders in a worker's base folder: those that each start empties, and those that persist. ComfyUI may write to all of
# them except `files`, which holds the files of a run. Its own folder, `source`, links to the others.
SCRATCH_FOLDERS = ("source", "input", "models", "output", "temp", "files")
FOLDERS = ("user",)


@dataclass(frozen=True)
class ComfySpec:
    """The installation, folders and options of a worker's ComfyUI."""

    installation: Installation
    base_dir: Path
    level: sandbox.Level
    network: bool
    device_args: tuple[str, ...]  # e.g. ("--cpu",)
    extra_args: tuple[str, ...]
    custom_nodes_dirs: tuple[Path, ...]
    model_dirs: tuple[Path, ...]
    environment: tuple[tuple[str, str], ...] = ()  # e.g. CUDA_VISIBLE_DEVICES


class ComfyProcess:
    """A ComfyUI process, started once."""

    def __init__(self, spec: ComfySpec) -> None:
        self._spec = spec
        # The path of a Unix socket is limited to 108 bytes; a data directory's may be longer.
        self._run_dir = Path(tempfile.mkdtemp(prefix="cw-"))
        self.socket = self._run_dir / "comfyui.sock"
        self.log_path = spec.base_dir / "comfyui.log"
        self._source = spec.base_dir / "source"
        self._process: asyncio.subprocess.Process | None = None
        self._leash: int | None = (
            None  # our end of a pipe: ComfyUI ends when it closes, also when this process is killed
        )

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Returns when ComfyUI's socket accepts connections. Raises SetupFailed with the end of the log."""
        try:
            await asyncio.to_thread(self._prepare_folders)
        except OSError as error:
            raise SetupFailed(f"The folders of ComfyUI cannot be created: {error}.") from error
        self.log_path.unlink(missing_ok=True)
        leash, self._leash = os.pipe()
        try:
            self._process = await self._spawn(leash)
        finally:
            os.close(leash)
        await self._wait_ready()

    async def _spawn(self, leash: int) -> asyncio.subprocess.Process:
        with self.log_path.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *sandbox.wrap(self._spec.level, self._access(), self._command(), leash),
                env=self._environment(),
                cwd=self._spec.base_dir / "user",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(leash,),
            )

    async def exited(self) -> int:
        """The exit status, once the process has ended."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """Stops ComfyUI and everything it started, with SIGTERM and after STOP_GRACE_S with SIGKILL."""
        process = self._process
        if process is not None and process.returncode is None:
            _signal_group(process.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_GRACE_S):
                    await process.wait()
            except TimeoutError:
                _signal_group(process.pid, signal.SIGKILL)
                await process.wait()
        if process is not None:
            _signal_group(process.pid, signal.SIGKILL)
        if self._leash is not None:
            os.close(self._leash)
            self._leash = None
        shutil.rmtree(self._run_dir, ignore_errors=True)

    def kill(self) -> None:
        """Kills ComfyUI and everything it started."""
        if self._process is not None:
            _signal_group(self._process.pid, signal.SIGKILL)

    def memory_bytes(self) -> int:
        """The resident memory of ComfyUI and everything that it started; 0 if unknown."""
        if not self.is_running or self.pid is None:
            return 0
        return sum(_resident_bytes(pid) for pid in _with_descendants(self.pid))

    def begin_log(self) -> int:
        """The offset at which the next run's log begins. A log over LOG_LIMIT_BYTES is emptied first."""
        size = self.log_path.stat().st_size if self.log_path.exists() else 0
        if size < LOG_LIMIT_BYTES:
            return size
        os.truncate(self.log_path, 0)
        return 0

    def log_since(self, offset: int) -> str:
        """The log after an offset as plain text, its last LOG_TAIL_LENGTH characters at most."""
        with contextlib.suppress(FileNotFoundError), self.log_path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(offset, size - LOG_READ_BYTES))
            return plain(log.read().decode("utf-8", "replace"))[-LOG_TAIL_LENGTH:]
        return ""

    async def _wait_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while not self._answers():
                    if not self.is_running:
                        raise SetupFailed(f"ComfyUI ended while starting.\n{self.log_since(0)[-2000:]}")
                    await asyncio.sleep(READY_POLL_S)
        except TimeoutError as error:
            raise SetupFailed(
                f"ComfyUI did not start within {READY_TIMEOUT_S:g} s.\n{self.log_since(0)[-2000:]}"
            ) from error

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def _prepare_folders(self) -> None:
        """Recreates the folders: files that packs wrote into their own or ComfyUI's folder do not survive a restart."""
        base = self._spec.base_dir
        for name in SCRATCH_FOLDERS:
            removal.remove_tree(base / name)
        for name in (*SCRATCH_FOLDERS, *FOLDERS):
            (base / name).mkdir(parents=True, exist_ok=True)
        for name in MODEL_FOLDERS:
            (base / "models" / name).mkdir(parents=True, exist_ok=True)
        private_copy.of_source(self._spec.installation.source, self._source)
        for name in (*FOLDERS, *SCRATCH_FOLDERS[1:]):
            (self._source / name).symlink_to(Path("..") / name)
        (self._source / "custom_nodes").mkdir()  # ComfyUI lists it even if there are no packs
        for packs, copy in self._packs():
            private_copy.of_packs(packs, copy)
        (base / "extra_paths.yaml").write_text(json.dumps(self._extra_paths()))  # JSON is YAML

    def _packs(self) -> list[tuple[Path, Path]]:
        """Each folder of packs with its copy, two levels below ComfyUI, where packs expect to be."""
        names = ["custom_nodes", *(f"custom_nodes_{number}" for number in range(1, 100))]
        return list(zip(self._spec.custom_nodes_dirs, (self._source / name for name in names), strict=False))

    def _extra_paths(self) -> dict[str, dict[str, Any]]:
        nodes = [EXTENSION_DIR, *(copy for _, copy in self._packs())]
        paths: dict[str, dict[str, Any]] = {
            f"custom_nodes_{index}": {"custom_nodes": str(path)} for index, path in enumerate(nodes)
        }
        paths["custom_nodes_0"]["is_default"] = True  # our extension is loaded first, to watch the others load
        for index, models in enumerate(self._spec.model_dirs):
            folders = sorted(folder for folder in models.iterdir() if folder.is_dir()) if models.is_dir() else []
            paths[f"models_{index}"] = {folder.name: str(folder) for folder in folders}
        return {name: section for name, section in paths.items() if section}

    def _command(self) -> list[str]:
        spec, base = self._spec, self._spec.base_dir
        return [
            str(spec.installation.python),
            str(self._source / "main.py"),
            *("--listen", "127.0.0.1", "--port", str(_free_port())),
            *("--base-directory", str(self._source)),
            *("--extra-model-paths-config", str(base / "extra_paths.yaml"), *self._operator_paths()),
            *("--database-url", f"sqlite:///{base / 'user' / 'comfyui.db'}"),
            *("--front-end-root", str(EXTENSION_DIR)),
            *("--preview-method", "auto"),
            "--disable-auto-launch",
            "--disable-api-nodes",
            *spec.device_args,
            *spec.extra_args,
        ]

    def _operator_paths(self) -> list[str]:
        """An installation's own list of model folders, read in place because its paths are relative to it."""
        path = self._spec.installation.source / "extra_model_paths.yaml"
        return [str(path)] if path.is_file() else []

    def _access(self) -> sandbox.Access:
        spec, base = self._spec, self._spec.base_dir
        return sandbox.Access(
            read_only=(*spec.installation.folders, EXTENSION_DIR, *spec.custom_nodes_dirs, *spec.model_dirs, base),
            writable=(*(base / name for name in (*SCRATCH_FOLDERS, *FOLDERS) if name != "files"), self._run_dir),
            network=spec.network,
        )

    def _environment(self) -> dict[str, str]:
        """A clean environment, without this process's variables."""
        return {
            "PATH": f"{self._spec.installation.python.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self._spec.base_dir / "user"),
            "USER": "comfyui",
            "LANG": "C.UTF-8",
            "TMPDIR": str(self._spec.base_dir / "temp"),
            "COMFYWARD_SOCKET": str(self.socket),
            "COMFYWARD_MODEL_DIRS": os.pathsep.join(map(str, self._spec.model_dirs)),
            "HF_HUB_OFFLINE": "0" if self._spec.network else "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "DO_NOT_TRACK": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **dict(self._spec.environment),
        }


def _with_descendants(root: int) -> set[int]:
    """The ids of a process and all its descendants."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name in parentheses may contain anything; the parent is the second field after it.
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found, size = {root}, 0
    while len(found) > size:
        size = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _free_port() -> int:
    """A port for ComfyUI's own listener, which is not used. (In its own network namespace every port is free.)"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
