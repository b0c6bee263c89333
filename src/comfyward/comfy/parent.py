"""A parent: a process that has imported what a ComfyUI imports, and forks one in a second instead of ten.

A ComfyUI forked from it is in walls of its own, and cannot touch its parent: what one account's nodes do never reaches
the next account's fork.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import signal
import socket
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfyward.comfy import operator_variables
from comfyward.comfy.forked import Forked
from comfyward.errors import SetupFailed
from comfyward.sandbox import walls
from comfyward.sandbox.cgroups import PARENT, Cgroup, Cgroups

log = logging.getLogger(__name__)

IMPORT_TIMEOUT_S = 300.0
FORK_TIMEOUT_S = 30.0
MESSAGE_LIMIT = 1 << 16
MOST_DESCRIPTORS = 2  # of an answer: of the process, and its door

# Of the imports beyond LIBRARIES; a library that exceeds them is left out.
LIBRARY_TIMEOUT_S = 20.0
LIBRARIES_TIMEOUT_S = 90.0
LIBRARIES_MEMORY_BYTES = 4 << 30

# Imported first, since they are known to be harmless: most of those that take long, and some that ComfyUI imports only
# later. The others are found in the sources of ComfyUI and packs.
LIBRARIES = (
    *("aiohttp.web", "torch", "numpy", "torch.nn", "torchvision", "torchaudio", "transformers", "safetensors.torch"),
    *(
        "einops",
        "scipy",
        "scipy.stats",
        "scipy.integrate",
        "av",
        "av.subtitles.stream",
        "yaml",
        "sqlalchemy.orm",
        "sqlalchemy.dialects.sqlite",
        "alembic.command",
        "alembic.config",
    ),
    *("PIL.Image", "PIL.ImageSequence", "PIL.PngImagePlugin", "kornia", "spandrel", "torchsde", "sentencepiece"),
    *("tokenizers", "pydantic.main", "pydantic.dataclasses", "pydantic_settings.main", "psutil", "dotenv.main"),
    *("requests", "cv2", "tqdm.auto", "transformers.models.clip.tokenization_clip", "transformers.generation"),
    *("transformers.models.t5.tokenization_t5_fast", "transformers.models.llama.tokenization_llama_fast"),
    *("transformers.models.bert.tokenization_bert", "transformers.models.byt5.tokenization_byt5"),
    *("transformers.models.qwen2.tokenization_qwen2", "transformers.modeling_gguf_pytorch_utils"),
)


@dataclass(frozen=True)
class Environment:
    """The differences between parents: a ComfyUI is forked from a parent of the same environment."""

    python: Path
    comfyui: Path
    packs: tuple[Path, ...]  # folders of packs
    level: walls.Level
    access: walls.Access
    arguments: tuple[str, ...] = ()  # of ComfyUI, by which it chooses how PyTorch gets memory of a GPU


@dataclass(frozen=True)
class Start:
    """Everything that a new ComfyUI gets; `files` are its log, its listener and the entrance of its cgroup, if any.

    With a `record` it writes down there what it asks of web servers.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    folder: Path
    walls: dict[str, object]
    files: tuple[int, ...]
    record: Path | None = None


@dataclass(frozen=True)
class Ready:
    """The message of a parent once it has imported its libraries."""

    left_out: tuple[tuple[str, str], ...] = ()  # libraries that it does not import, with the reasons
    folders: tuple[tuple[str, int], ...] = ()  # where the libraries and packs are, and when each had changed


class Parent:
    """One parent process: `fork` waits until it has imported its libraries.

    If `left_out` is None it imports no library, otherwise those that ComfyUI and packs use, except the ones left out.
    """

    def __init__(
        self, environment: Environment, left_out: Collection[str] | None, cgroups: Cgroups | None = None
    ) -> None:
        self._environment, self._cgroups = environment, cgroups
        self._left_out = left_out
        self._forks: list[Forked] = []
        self.ready = Ready()
        self._cgroup: Cgroup | None = None
        self._control: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._created: asyncio.Task[asyncio.subprocess.Process] | None = None
        self._forking = asyncio.Lock()
        self._starting = asyncio.create_task(self._start_or_leave(), name="comfyui-parent")

    @property
    def is_running(self) -> bool:
        """False if it has failed or ended."""
        if not self._starting.done():
            return True
        failed = self._starting.cancelled() or self._starting.exception() is not None
        return not failed and self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """The outermost of its processes, which leads their group; None until it is started."""
        return self._process.pid if self._process is not None and self.is_running else None

    @property
    def is_used(self) -> bool:
        """True if a ComfyUI that it forked is running."""
        self._forks = [fork for fork in self._forks if fork.is_running]
        return bool(self._forks)

    def is_outdated(self) -> bool:
        """True if libraries or packs were added, removed or replaced since it imported them."""
        return any(_changed_at(folder) != changed_at for folder, changed_at in self.ready.folders)

    async def fork(self, start: Start) -> Forked:
        """A new ComfyUI. Raises SetupFailed if there is no parent any more, or its walls cannot be built."""
        await asyncio.shield(self._starting)
        request = {
            "argv": start.argv,
            "environment": start.environment,
            "folder": str(start.folder),
            "walls": start.walls,
            "record": start.record and str(start.record),
        }
        async with self._forking:
            try:
                assert self._control is not None
                socket.send_fds(self._control, [json.dumps(request).encode()], list(start.files))
                answer, descriptors = await self._answer(FORK_TIMEOUT_S)
            except OSError as error:
                raise SetupFailed(f"ComfyUI's parent process does not answer: {error}.") from error
        if not descriptors:
            raise SetupFailed(f"The walls around ComfyUI cannot be built: {answer.get('error')}.")
        pid, *doors = descriptors
        door = socket.socket(fileno=doors[0]) if doors else None
        forked = Forked(pid, has_namespace=self._environment.level is walls.Level.BUBBLEWRAP, door=door)
        self._forks.append(forked)
        return forked

    async def close(self) -> None:
        """Ends it, and every ComfyUI that it forked."""
        is_importing = not self._starting.done()
        self._starting.cancel()
        await asyncio.gather(self._starting, return_exceptions=True)
        if self._created is not None:
            with contextlib.suppress(OSError):
                self._process = await self._created
        if self._control is not None:
            self._control.close()
        if self._process is not None and self._process.returncode is None:
            await self._end(self._process, is_importing=is_importing)
        if self._cgroup is not None:
            await asyncio.to_thread(self._cgroup.remove)
            self._cgroup = None

    async def _end(self, process: asyncio.subprocess.Process, *, is_importing: bool) -> None:
        """Returns once it has ended, for which its control socket was closed."""
        if is_importing:
            self._kill()
        try:
            async with asyncio.timeout(FORK_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            self._kill()
            await process.wait()

    def _kill(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _start_or_leave(self) -> None:
        """Starts it; if that fails, closes its socket, which ends the process. Raises SetupFailed, OSError."""
        try:
            await self._start()
        except BaseException:
            if self._control is not None:
                self._control.close()
            raise

    async def _start(self) -> None:
        _warn_of_root(self._environment)
        if self._cgroups is not None:
            self._cgroup = await asyncio.to_thread(self._cgroups.make, PARENT)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        self._created = asyncio.create_task(self._create(theirs), name="comfyui-parent-process")
        self._process = await asyncio.shield(self._created)
        try:
            answer, _ = await self._answer(IMPORT_TIMEOUT_S)
        except OSError as error:
            raise SetupFailed(f"ComfyUI's Python does not start: {error}.") from error
        told = answer.get("ready", {})
        if "hindrance" in told:
            raise SetupFailed(f"One of ComfyUI's libraries {told['hindrance']} when it is imported.")
        self.ready = Ready(tuple(told["left_out"].items()), tuple(told["folders"].items()))
        for library, reason in self.ready.left_out:
            log.warning(
                "a parent of ComfyUI does not import %s: %s",
                library,
                reason,
                extra={"action": "comfyui_library_left_out"},
            )
        log.info("a parent of ComfyUI is ready: %s", told, extra={"action": "comfyui_parent_ready"})

    async def _create(self, control: socket.socket) -> asyncio.subprocess.Process:
        """The process. It leads a group: if it alone were killed, a bubblewrap that has not begun yet would stay."""
        environment = self._environment
        with control, contextlib.ExitStack() as entered:
            enter = None
            if self._cgroup is not None:
                enter = functools.partial(os.write, entered.enter_context(self._cgroup.entrance()), b"0")
            return await asyncio.create_subprocess_exec(
                *walls.parent_command(
                    environment.level, environment.access, environment.python, self._wanted(), control.fileno()
                ),
                env=_variables(environment),
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=enter,
                pass_fds=(control.fileno(),),
            )

    def _wanted(self) -> dict[str, object]:
        packs = self._environment.packs if self._left_out is not None else ()
        return {
            "libraries": LIBRARIES if self._left_out is not None else (),
            "comfyui": str(self._environment.comfyui),
            "packs": [str(folder) for folder in packs],
            "left_out": sorted(self._left_out or ()),
            "has_gpu": _has_gpu(),
            "arguments": self._environment.arguments,
            "bounds": {
                "library_s": LIBRARY_TIMEOUT_S,
                "all_s": LIBRARIES_TIMEOUT_S,
                "memory_bytes": LIBRARIES_MEMORY_BYTES,
            },
        }

    async def _answer(self, timeout_s: float) -> tuple[dict[str, Any], list[int]]:
        """The parent's next message with its descriptors. Raises OSError."""
        assert self._control is not None
        async with asyncio.timeout(timeout_s):
            await _readable(self._control)
        message, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_LIMIT, MOST_DESCRIPTORS)
        if not message:
            raise OSError("it has ended")
        return json.loads(message), descriptors


def _has_gpu() -> bool:
    """True if there is a device that PyTorch would find."""
    return any(True for pattern in ("nvidia[0-9]*", "kfd", "dxg") for _ in Path("/dev").glob(pattern))


def _changed_at(folder: str) -> int:
    """The time at which something was added to the folder, or removed from it; 0 if it does not exist."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def _warn_of_root(environment: Environment) -> None:
    if os.geteuid() == 0 and walls.owner(environment.level, environment.access) is None:
        log.warning(
            "ComfyUI runs as root: a user without privileges cannot pass through %s. Run the worker as another user, "
            "move its data directory, or install bubblewrap",
            walls.unreachable(environment.access),
            extra={"action": "comfyui_runs_as_root"},
        )


def _variables(environment: Environment) -> dict[str, str]:
    """Libraries read some when they are imported. A parent sees no GPU."""
    # Under Landlock it may write nowhere else; PyTorch's compiler fails to be imported without such a folder.
    temporary = {"TMPDIR": str(environment.access.home)} if environment.level is walls.Level.LANDLOCK else {}
    return {
        **operator_variables.passed_on(),
        **temporary,
        **walls.drivers_variables(),
        "PATH": f"{environment.python.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": walls.HOME if environment.level is walls.Level.BUBBLEWRAP else "/nonexistent",
        "USER": "comfyui",
        "LANG": "C.UTF-8",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        "HF_HUB_OFFLINE": hub_is_offline(environment.level, environment.access),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def hub_is_offline(level: walls.Level, access: walls.Access) -> str:
    """The value of HF_HUB_OFFLINE, with which huggingface_hub does not even try to reach its host."""
    return "0" if access.network or walls.has_door(level, access) else "1"


async def _readable(ours: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[None] = loop.create_future()
    loop.add_reader(ours, _set, arrived)
    try:
        await arrived
    finally:
        loop.remove_reader(ours)


def _set(arrived: asyncio.Future[None]) -> None:
    if not arrived.done():
        arrived.set_result(None)
