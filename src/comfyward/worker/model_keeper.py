"""Models in the memory of the worker's host: those of the run that is next are read ahead while the present one
executes, and those that are pinned stay.

One file is read at a time on a host, and only as far as the present run leaves the disk idle. When the run's turn comes
the reading ends: ComfyUI reads the rest by itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from comfyward.comfy.run_folders import StagedFile
from comfyward.files import page_cache
from comfyward.files.cache import HostCache
from comfyward.files.model_folders import ModelFolders
from comfyward.files.model_memory import Held, ModelFile, ModelMemory, NoRoom
from comfyward.paths import MODELS_ROOT
from comfyward.wording import size
from comfyward.worker.memory import available_bytes
from comfyward.worker.pinned_files import KEPT, PinnedFiles
from comfyward.worker.protocol import ModelInMemory, ModelOrder
from comfyward.workflows.model_names import name_of

log = logging.getLogger(__name__)

PINNED_S = 60.0  # after which the pins of a worker that has ended are over
ABSENT = "The model is not in the folders of models of this host."
CLAIMED_S = 600.0  # for a run that comes: longer than most runs before it
OTHERS_NEED_BYTES = 1 << 30  # memory that reading ahead leaves free
TURN_POLL_S = 0.1


class ModelKeeper:
    """One worker's part in its host's memory for models."""

    def __init__(
        self, memory: ModelMemory, cache: HostCache, folders: ModelFolders, pinned_files: PinnedFiles, worker_id: str
    ) -> None:
        self._memory, self._cache, self._folders, self._worker_id = memory, cache, folders, worker_id
        self._pinned_files = pinned_files
        self._closing = threading.Event()
        self._reader = ThreadPoolExecutor(1, "read-ahead", initializer=page_cache.read_when_idle)
        self._names: tuple[str, ...] = ()
        self._pinned: Sequence[ModelOrder] = ()
        self._problems: dict[ModelOrder, str] = {}
        self._yielding = threading.Event()  # set to end the reading of what is pinned: a run comes first

    @property
    def names(self) -> list[str]:
        """The names of the models that were in the host's memory a moment ago, for placement."""
        return list(self._names)

    @property
    def limit_bytes(self) -> int:
        return self._memory.limit_bytes

    @contextlib.contextmanager
    def read_ahead(self, models: Sequence[str], files: Sequence[StagedFile]) -> Iterator[None]:
        """In the block, the models of a run that waits for its turn are read into memory."""
        stop = threading.Event()
        if self.limit_bytes and (models or files):
            self._yielding.set()
            self._begin(lambda: self._read_all(self._files_of(models, files), stop))
        try:
            yield
        finally:
            stop.set()
            self.executed(models, files)  # or will be in a moment

    def executed(self, models: Sequence[str], files: Sequence[StagedFile]) -> None:
        """Counts the models of a run that was just executed: ComfyUI has read them."""
        if self.limit_bytes and (models or files):
            self._begin(lambda: self._count(self._files_of(models, files)))

    def pin(self, orders: Sequence[ModelOrder]) -> None:
        """Keeps these models in memory from now on, and no others."""
        if orders != self._pinned:
            self._pinned = orders
            self._begin(self._keep)

    def report(self) -> list[ModelInMemory]:
        """The models that the host keeps in memory, and pinned ones that it does not. Blocks.

        Called every few seconds: what the kernel took back of pinned ones is read again.
        """
        if self._pinned:
            self._begin(self._keep)
        held, now = (self._memory.held() if self.limit_bytes else []), time.time()
        self._names = tuple(each.model.name for each in held if each.is_whole)
        absent = [_absent(order, problem) for order, problem in list(self._problems.items())]
        return [*(_report_of(each, now) for each in held), *absent]

    def close(self) -> None:
        """Ends all reading."""
        self._closing.set()
        self._pinned_files.close()
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _begin(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # closed meanwhile
            self._reader.submit(self._guarded, work)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:  # a file that is gone; its run will say so
            log.info("a model was not read ahead: %s", error, extra={"action": "not_read_ahead"})

    def _files_of(self, models: Sequence[str], files: Sequence[StagedFile]) -> list[ModelFile]:
        """The files of a run's models on this host: those that were staged, then those of the operator."""
        staged = [file for file in files if file.path.startswith(MODELS_ROOT)]
        found = [ModelFile(file.digest, file.path, str(self._cache.blob(file.digest))) for file in staged]
        own = (name for name in models if not any(file.path.endswith(f"/{name}") for file in staged))
        return found + [model for name in own if (model := self._folders.named(name)) is not None]

    def _keep(self) -> None:
        """Claims what is pinned, and reads what is missing of it."""
        self._yielding = yielding = threading.Event()
        found = {order: self._find(order) for order in self._pinned}
        self._problems = {order: self._get(order) for order, model in found.items() if model is None}
        here = {order: model for order, model in found.items() if model is not None}
        self._memory.release(self._worker_id, list(here.values()))
        self._unlink_others()
        for order, model in here.items():
            try:
                self._memory.claim(model, self._worker_id, PINNED_S, is_pin=True)
            except NoRoom as error:
                self._problems[order] = _no_room(error)
        for order, model in here.items():
            if order not in self._problems and not yielding.is_set() and not self._closing.is_set():
                self._read(model, yielding)

    def _find(self, order: ModelOrder) -> ModelFile | None:
        """The file of a pinned model; a link keeps it in the host's cache while it is pinned."""
        if not order.digest:
            return self._folders.at(order.path)
        blob = self._cache.blob(order.digest)
        try:
            os.link(blob, self._cache.pin_folder(self._worker_id, KEPT) / order.digest)
        except FileExistsError:
            pass
        except OSError:
            return None
        return ModelFile(order.digest, order.path, str(blob))

    def _get(self, order: ModelOrder) -> str:
        """Has a pinned model that is not here fetched, if it is stored at the server. Returns the sentence about it."""
        return self._pinned_files.get(order, lambda: self._begin(self._keep)) if order.digest else ABSENT

    def _unlink_others(self) -> None:
        wanted = {order.digest for order in self._pinned}
        for link in self._cache.pin_folder(self._worker_id, KEPT).iterdir():
            if link.name not in wanted:
                link.unlink(missing_ok=True)

    def _read_all(self, models: Sequence[ModelFile], stop: threading.Event) -> None:
        for model in models:
            if stop.is_set() or self._closing.is_set():
                return
            with contextlib.suppress(NoRoom):
                self._memory.claim(model, self._worker_id, CLAIMED_S)
                self._read(model, stop)

    def _read(self, model: ModelFile, stop: threading.Event) -> None:
        missing = model.place.stat().st_size - self._memory.measured(model)
        if missing == 0 or missing + OTHERS_NEED_BYTES > available_bytes():
            return
        while not self._read_in_turn(model, stop):
            if stop.wait(TURN_POLL_S) or self._closing.is_set():
                return

    def _read_in_turn(self, model: ModelFile, stop: threading.Event) -> bool:
        """False if another worker of the host reads a model now."""
        with self._memory.reading() as is_its_turn:
            if is_its_turn and page_cache.read_in(model.place, stop):
                self._memory.arrived(model)
                self._names = (*(name for name in self._names if name != model.name), model.name)
        return is_its_turn

    def _count(self, models: Sequence[ModelFile]) -> None:
        for model in models:
            with contextlib.suppress(NoRoom):
                self._memory.claim(model, self._worker_id, 0.0)
                self._memory.measured(model)


def _no_room(error: NoRoom) -> str:
    wanted = f"It has {size(error.size)}, and {size(error.left)} of the {size(error.limit)} for models are left."
    return "This host keeps no models in memory." if not error.limit else wanted


def _absent(order: ModelOrder, problem: str) -> ModelInMemory:
    return ModelInMemory(order.digest or name_of(order.path), order.path, pinned=True, problem=problem)


def _report_of(held: Held, now: float) -> ModelInMemory:
    return ModelInMemory(
        name=held.model.name,
        path=held.model.path,
        size=held.size,
        resident=held.resident,
        since=int(held.since * 1000),
        pinned=held.pinned(now),
    )
