"""One ComfyUI process: its folders, command line, sandbox and log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfyward.comfy import consumption, operator_variables, private_copy
from comfyward.comfy.copies import Recipe
from comfyward.comfy.egress import PROXY, RECORD, Doorkeeper, Egress
from comfyward.comfy.forked import Forked
from comfyward.comfy.install import Installation
from comfyward.comfy.parent import Environment, Start, hub_is_offline
from comfyward.comfy.parents import ComfyParents
from comfyward.errors import MAX_TEXT_LENGTH, SetupFailed
from comfyward.runs.log import plain
from comfyward.sandbox import leftovers, walls
from comfyward.sandbox.cgroups import Cgroup
from comfyward.sandbox.inside.parent import LISTENER
from comfyward.sandbox.temporary import TemporaryFolder

log = logging.getLogger(__name__)

EXTENSION_DIR = Path(__file__).parent / "extension"
READY_TIMEOUT_S = 300.0
READY_POLL_S = 0.02
STOP_GRACE_S = 5.0
WATCH_EVERY_S = 1.0
LOG_TAIL_LENGTH = 256 << 10
LOG_END_LENGTH = MAX_TEXT_LENGTH - 100  # characters, beside the sentence before them
LOG_READ_BYTES = 4 << 20  # most of a log may be progress bars that overwrite themselves
LOG_LIMIT_BYTES = 64 << 20
NO_DOOR = "[comfyward] No host is reached from here: the sandbox of this machine has no networks (bubblewrap has).\n"

# ComfyUI's own kinds of models. Their folders exist from the start: one created later is not always noticed.
MODEL_FOLDERS = (
    *("checkpoints", "configs", "loras", "vae", "text_encoders", "clip", "diffusion_models", "unet", "clip_vision"),
    *("style_models", "embeddings", "diffusers", "vae_approx", "controlnet", "t2i_adapter", "gligen", "upscale_models"),
    *("latent_upscale_models", "hypernetworks", "photomaker", "classifiers", "model_patches", "audio_encoders"),
)

# Folders in a worker's base folder: those that each start empties, and those that persist unless a limit was broken.
# ComfyUI may write to all of them except `files`, which holds the files of a run. Its own folder, `source`, links to
# the others.
SCRATCH_FOLDERS = ("source", "input", "models", "output", "temp", "files")
FOLDERS = ("user",)


@dataclass(frozen=True)
class ComfySpec:
    """The installation, folders and options of a worker's ComfyUI."""

    installation: Installation
    base_dir: Path
    level: walls.Level
    network: bool
    device_args: tuple[str, ...]  # e.g. ("--cpu",)
    extra_args: tuple[str, ...]
    custom_nodes_dirs: tuple[Path, ...]
    model_dirs: tuple[Path, ...]
    environment: tuple[tuple[str, str], ...] = ()  # e.g. CUDA_VISIBLE_DEVICES
    limits: walls.Limits = field(default_factory=walls.Limits)
    egress: Egress = field(default_factory=Egress)  # for walls that have a door
    weights: Path | None = None  # a folder with `models` and `home`, whose files each start finds in its own

    def access(self, home: Path) -> walls.Access:
        """Everything that ComfyUI needs outside of its own folder, which is in `home`."""
        python = self.installation.python
        pythons = (python.parent, python.resolve().parent)
        folders = [*self.installation.folders, *pythons, EXTENSION_DIR, *self.custom_nodes_dirs, *self.model_dirs]
        folders += [*walls.drivers_folders(), *([self.weights] if self.weights is not None else [])]
        return walls.Access(read_only=tuple(folders), home=home, network=self.network, egress=bool(self.egress.hosts))


class ComfyProcess:
    """A ComfyUI process, forked once from a parent of its environment."""

    def __init__(self, spec: ComfySpec, parents: ComfyParents, doorkeeper: Doorkeeper | None = None) -> None:
        """The spec's base folder must be below the parents' home. Without a doorkeeper no host is reached."""
        self._spec = spec
        self._parents, self._doorkeeper = parents, doorkeeper
        # The path of a Unix socket is limited to 108 bytes; a data directory's may be longer.
        self._run_dir = TemporaryFolder()
        self.socket = self._run_dir.path / "comfyui.sock"
        self.log_path = spec.base_dir / "comfyui.log"
        self.source = spec.base_dir / "source"
        self._forked: Forked | None = None
        self._cgroup: Cgroup | None = None
        self._watching: asyncio.Task[None] | None = None
        self._excess: str | None = None

    @property
    def pid(self) -> int | None:
        return self._forked.pid if self._forked else None

    @property
    def is_running(self) -> bool:
        return self._forked is not None and self._forked.is_running

    @property
    def over_limit(self) -> str | None:
        """The reason why it was killed, if it used more than it may."""
        if self._cgroup is not None and self._cgroup.was_over_memory():
            return _too_much_memory(self._spec.limits.memory_bytes)
        return self._excess

    @property
    def environment(self) -> Environment:
        """The environment that its parent must have."""
        spec = self._spec
        access = spec.access(self._parents.home)
        return Environment(
            *(spec.installation.python, spec.installation.source, spec.custom_nodes_dirs, spec.level, access),
            arguments=(*spec.device_args, *spec.extra_args),
        )

    async def start(self) -> None:
        """Returns when ComfyUI's socket accepts connections. Raises SetupFailed with the end of the log."""
        await self._parents.prepare(self.environment)  # it may import while the folders are made
        try:
            await asyncio.to_thread(self._prepare_folders)
        except OSError as error:
            raise SetupFailed(f"The folders of ComfyUI cannot be created: {error}.") from error
        self.log_path.unlink(missing_ok=True)
        self._cgroup = await asyncio.to_thread(self._parents.cgroup)
        with self.log_path.open("ab") as log, socket.socket(socket.AF_UNIX) as listener, self._entrance() as entrance:
            listener.bind(str(self.socket))  # ComfyUI listens on it once it is ready
            if self._spec.egress.hosts and self._spec.level is walls.Level.LANDLOCK:
                os.write(log.fileno(), NO_DOOR.encode())
            start = self._start((log.fileno(), listener.fileno(), *entrance))
            self._forked = await self._parents.fork(self.environment, start)
        await self._open_door()
        self._watching = asyncio.create_task(self._watch(), name="comfyui-limits")
        await self._wait_ready()
        self._parents.make_ahead(self.recipe)

    async def _open_door(self) -> None:
        """Has the doorkeeper answer before packs are imported, which may fetch something. Raises SetupFailed."""
        assert self._forked is not None
        if (door := self._forked.door) is not None:
            with door:
                if self._doorkeeper is not None:
                    try:
                        await self._doorkeeper.open(door, self.log_path)
                    except OSError as error:
                        raise SetupFailed(f"The proxy for ComfyUI does not start: {error}.") from error

    @contextlib.contextmanager
    def _entrance(self) -> Iterator[tuple[int, ...]]:
        if self._cgroup is None:
            yield ()
            return
        with self._cgroup.entrance() as opened:
            yield (opened,)

    def _start(self, files: tuple[int, ...]) -> Start:
        spec, workspace = self._spec, self._workspace()
        inner = walls.inner(spec.level, self.environment.access, workspace, spec.limits)
        record = spec.base_dir.joinpath(*RECORD) if spec.egress.is_recorded else None
        return Start(self._arguments(), self._variables(), spec.base_dir / "user", inner, files, record)

    async def exited(self) -> None:
        """Returns once the process, and everything that it started, has ended."""
        assert self._forked is not None
        await self._forked.ended()

    async def stop(self) -> None:
        """Kills ComfyUI and everything it started; there is nothing that it would save."""
        if self._forked is not None:
            self._forked.kill()
            try:
                async with asyncio.timeout(STOP_GRACE_S):
                    await self._forked.ended()
            except TimeoutError:
                self._forked.kill_keeper()
                await self._forked.ended()
        if self._doorkeeper is not None:
            await self._doorkeeper.close()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._cgroup is not None:
            await asyncio.to_thread(self._cgroup.remove)
        if self.over_limit is not None:
            log.warning("%s", self.over_limit, extra={"action": "comfyui_over_limit"})
            await asyncio.to_thread(self._set_aside, FOLDERS)  # they may be what is too much
        self._run_dir.close()

    def kill(self) -> None:
        """Kills ComfyUI and everything it started."""
        if self._forked is not None:
            self._forked.kill()

    async def _watch(self) -> None:
        """Kills ComfyUI once it uses more disk than it may, or more memory where no cgroup limits that."""
        while self.is_running:
            self._excess = await asyncio.to_thread(self._measure)
            if self._excess is not None:
                return self.kill()
            await asyncio.sleep(WATCH_EVERY_S)

    def _measure(self) -> str | None:
        limits, pids = self._spec.limits, self._processes()
        most = limits.memory_bytes if self._cgroup is None else 0
        if most and self._is_over_memory(pids, most):
            return _too_much_memory(most)
        most = limits.disk_bytes
        if most and self._disk_bytes(pids, most) > most:
            return f"The run used more than {most >> 20:,} MiB of disk space, or left too many files."
        return None

    def _is_over_memory(self, pids: set[int], most: int) -> bool:
        """True if they use more than `most` bytes. What is read first is cheap, and counts shared memory twice."""
        in_files = consumption.files_in_memory_bytes(pids)
        return consumption.memory_bytes(pids) + in_files > most and consumption.own_memory_bytes(pids, in_files) > most

    def _processes(self) -> set[int]:
        """ComfyUI and everything that it started; none before it has started."""
        return consumption.with_descendants(self.pid) if self.pid else set()

    def _disk_bytes(self, pids: set[int], most: int) -> int:
        folders = self._workspace().writable
        used = consumption.disk_bytes(folders, most) + self._log_bytes()
        return used if used > most else used + consumption.unlinked_bytes(pids, folders)

    def memory_bytes(self) -> int:
        """The resident memory of ComfyUI and everything that it started; 0 if unknown."""
        return consumption.memory_bytes(self._processes()) if self.is_running else 0

    def begin_log(self) -> int:
        """The offset at which the next run's log begins. A log over LOG_LIMIT_BYTES is emptied first."""
        size = self._log_bytes()
        if size < LOG_LIMIT_BYTES:
            return size
        os.truncate(self.log_path, 0)
        return 0

    def _log_bytes(self) -> int:
        return self.log_path.stat().st_size if self.log_path.exists() else 0

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
                        raise SetupFailed(f"ComfyUI ended while starting.\n{self._log_end()}")
                    await asyncio.sleep(READY_POLL_S)
        except TimeoutError as error:
            raise SetupFailed(f"ComfyUI did not start within {READY_TIMEOUT_S:g} s.\n{self._log_end()}") from error

    def _log_end(self) -> str:
        """As much of the log as an error may hold: its last lines say why ComfyUI ended."""
        return self.log_since(0)[-LOG_END_LENGTH:]

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def _prepare_folders(self) -> None:
        """Recreates the folders: files that packs wrote into their own or ComfyUI's folder do not survive a restart."""
        base = self._spec.base_dir
        self._set_aside(SCRATCH_FOLDERS)
        is_first = not (base / "user").exists()  # a user's folder that ComfyUI has had is hostile
        for name in (*SCRATCH_FOLDERS[1:], *FOLDERS):
            (base / name).mkdir(parents=True, exist_ok=True)
        for name in MODEL_FOLDERS:
            (base / "models" / name).mkdir(parents=True, exist_ok=True)
        self._link_weights("models", base / "models")
        if is_first:
            self._link_weights("home", base / "user")
        self._parents.copies.put(self.recipe, self.source)
        for name in (*FOLDERS, *SCRATCH_FOLDERS[1:]):
            (self.source / name).symlink_to(Path("..") / name)
        (base / "extra_paths.yaml").write_text(json.dumps(self._extra_paths()))  # JSON is YAML
        self._give_folders(is_first)

    def _link_weights(self, name: str, target: Path) -> None:
        if self._spec.weights is not None and (self._spec.weights / name).is_dir():
            private_copy.of_weights(self._spec.weights / name, target)

    def _set_aside(self, folders: Iterable[str]) -> None:
        for name in folders:
            leftovers.set_aside(self._spec.base_dir / name, self._spec.base_dir.parent / "leftovers")

    def _give_folders(self, is_first: bool) -> None:
        """Makes the user as whom ComfyUI runs the owner of what it may write to, and lets it reach its folder."""
        owner = walls.owner(self._spec.level, self.environment.access)
        if owner is not None:
            self._parents.home.chmod(0o711)
            self._spec.base_dir.chmod(0o755)
            for folder in self._workspace().writable:
                if folder.name in FOLDERS and not is_first:  # what it left is its own already, of any depth
                    os.chown(folder, owner, owner, follow_symlinks=False)
                else:
                    _give(folder, owner)

    @property
    def recipe(self) -> Recipe:
        """Each folder of packs is copied two levels below ComfyUI, where packs expect to be."""
        names = ["custom_nodes", *(f"custom_nodes_{number}" for number in range(1, 100))]
        installation, packs = self._spec.installation, self._spec.custom_nodes_dirs
        return Recipe(installation.source, tuple(zip(packs, names, strict=False)), installation.python)

    def _extra_paths(self) -> dict[str, dict[str, Any]]:
        nodes = [EXTENSION_DIR, *(self.source / name for _, name in self.recipe.packs)]
        paths: dict[str, dict[str, Any]] = {
            f"custom_nodes_{index}": {"custom_nodes": str(path)} for index, path in enumerate(nodes)
        }
        paths["custom_nodes_0"]["is_default"] = True  # our extension is loaded first, to watch the others load
        for index, models in enumerate(self._spec.model_dirs):
            folders = sorted(folder for folder in models.iterdir() if folder.is_dir()) if models.is_dir() else []
            paths[f"models_{index}"] = {folder.name: str(folder) for folder in folders}
        return {name: section for name, section in paths.items() if section}

    def _arguments(self) -> tuple[str, ...]:
        spec, base = self._spec, self._spec.base_dir
        return (
            str(self.source / "main.py"),
            *("--base-directory", str(self.source)),
            *("--extra-model-paths-config", str(base / "extra_paths.yaml"), *self._operator_paths()),
            *("--database-url", f"sqlite:///{base / 'user' / 'comfyui.db'}"),
            *("--front-end-root", str(EXTENSION_DIR)),
            *("--preview-method", "auto"),
            "--disable-auto-launch",
            "--disable-api-nodes",
            *spec.device_args,
            *spec.extra_args,
        )

    def _operator_paths(self) -> list[str]:
        """An installation's own list of model folders, read in place because its paths are relative to it."""
        path = self._spec.installation.source / "extra_model_paths.yaml"
        return [str(path)] if path.is_file() else []

    def _workspace(self) -> walls.Workspace:
        base = self._spec.base_dir
        return walls.Workspace(base, tuple(base / name for name in (*SCRATCH_FOLDERS, *FOLDERS) if name != "files"))

    def _variables(self) -> dict[str, str]:
        """A clean environment: of this process's variables, only those for the device."""
        return {
            **operator_variables.passed_on(),
            "PATH": f"{self._spec.installation.python.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": walls.home_of(self._spec.level, self._workspace()),
            "USER": "comfyui",
            "LANG": "C.UTF-8",
            "TMPDIR": str(self._spec.base_dir / "temp"),
            "COMFYWARD_LISTENER": str(LISTENER),
            "COMFYWARD_MODEL_DIRS": os.pathsep.join(map(str, self._spec.model_dirs)),
            "HF_HUB_OFFLINE": hub_is_offline(self._spec.level, self.environment.access),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "DO_NOT_TRACK": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **walls.drivers_variables(),
            **(PROXY if walls.has_door(self._spec.level, self.environment.access) else {}),
            **dict(self._spec.environment),
        }


def _too_much_memory(most: int) -> str:
    return f"The run used more than {most >> 20:,} MiB of memory."


def _give(folder: Path, owner: int) -> None:
    """Makes a folder, and everything in it, its owner's. No link is followed."""
    for _, folders, files, opened in os.fwalk(folder, follow_symlinks=False):
        os.fchown(opened, owner, owner)
        for name in (*folders, *files):
            os.chown(name, owner, owner, dir_fd=opened, follow_symlinks=False)
