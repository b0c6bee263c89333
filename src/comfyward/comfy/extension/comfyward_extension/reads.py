"""Observes which files of runs the nodes open, by inotify, which also sees C code and subprocesses. Folders that they
list are observed by an audit hook of Python: the worker lists the same folders, to measure them.

It serves two purposes:

- A class that opens files which its inputs do not name (a whole folder, a name computed at run time) depends on all
  files that a run brings into that folder. This is learned when it happens; see `fingerprints`.
- A node that opened a file before, and opens nothing although that file has changed or gone, answers from its memory: a
  dict of its module, an attribute of its class, an `lru_cache`. Its result is refused, and the run is retried in a new
  process.
"""

import asyncio
import ctypes
import logging
import os
import struct
import sys
from collections import defaultdict

import execution
from comfy_execution.progress import get_progress_state

from . import run_files
from .upstream import Upstream

IN_OPEN, IN_IGNORED, IN_Q_OVERFLOW, IN_ISDIR = 0x20, 0x8000, 0x4000, 0x4000_0000
LISTING = ("os.listdir", "os.scandir")
EVENT = struct.Struct("iIII")
BUFFER_BYTES = 1 << 16


class AnsweredFromMemory(Exception):
    """The node did not read a file that has changed since it read it last. The worker recognises the error by name."""

    def __init__(self, place):
        super().__init__(f"{os.path.basename(place)} has changed since the node read it, but the node did not read it.")


AnsweredFromMemory.__module__ = "comfyward"


class Watch:
    """Watches folders for opened files."""

    def __init__(self):
        self._folders = {}
        self._libc = ctypes.CDLL(None, use_errno=True)
        try:
            self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        except AttributeError:  # not Linux
            self._fd = -1
        if self._fd < 0:
            logging.error("inotify is not available: nodes that answer from their memory are not noticed.")

    @property
    def is_used(self):
        return bool(self._folders)

    def add(self, folder):
        if self._fd < 0:
            return
        number = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), IN_OPEN)
        if number >= 0:
            self._folders[number] = folder

    def among(self, paths):
        """Those of the watched folders that these paths lead to."""
        real = {os.path.realpath(path) for path in paths}
        return {folder for folder in self._folders.values() if os.path.realpath(folder) in real}

    def opened(self):
        """The files opened since the last call; all watched folders if the kernel dropped events."""
        found = set()
        while data := self._read():
            offset = 0
            while offset < len(data):
                number, mask, _, length = EVENT.unpack_from(data, offset)
                name = data[offset + EVENT.size : offset + EVENT.size + length].rstrip(b"\0")
                offset += EVENT.size + length
                if mask & IN_Q_OVERFLOW:
                    found.update(self._folders.values())
                elif mask & IN_IGNORED:
                    self._folders.pop(number, None)
                elif number in self._folders and not mask & IN_ISDIR:
                    found.add(os.path.join(self._folders[number], os.fsdecode(name)))
        return found

    def _read(self):
        try:
            return os.read(self._fd, BUFFER_BYTES)
        except BlockingIOError:
            return b""


_watch = Watch()
_listed = []  # folders that this process listed while nodes were executed, as the call named them
_places = defaultdict(set)  # resolved path of a file -> its places
_observations = []  # of the nodes being executed: several if they are asynchronous
_unnamed = defaultdict(set)  # class -> folders in which it opened files that its inputs do not name
_seen = defaultdict(set)  # (reader, file or folder) -> its identities when it was opened
_opened_by_name = defaultdict(set)  # name -> files and folders with this name that were opened in any run
_opened_before = defaultdict(set)  # node -> places that it opened in this run before its execution


def install():
    """Observes each execution of a node, and the calls of its methods before it."""
    _observe_calls_before_execution()
    sys.addaudithook(_hear)
    execute = execution.get_output_data

    async def get_output_data(prompt_id, unique_id, obj, input_data_all, *args, **kwargs):
        if not _watch.is_used:
            return await execute(prompt_id, unique_id, obj, input_data_all, *args, **kwargs)
        with _Observation() as observation:
            results, ui, has_subgraph, is_pending = await execute(
                prompt_id, unique_id, obj, input_data_all, *args, **kwargs
            )
        if is_pending:
            results = [_checked_later(each, unique_id, type(obj), input_data_all) for each in results]
        else:
            _check(unique_id, type(obj), input_data_all, observation.opened)
        return results, ui, has_subgraph, is_pending

    execution.get_output_data = get_output_data


def _hear(event, arguments):
    if event in LISTING and _observations:
        path = arguments[0]
        _listed.append(f"/proc/self/fd/{path}" if isinstance(path, int) else os.fsdecode(path or "."))


def _observe_calls_before_execution():
    """`VALIDATE_INPUTS`, `IS_CHANGED` and `check_lazy_status` may open a file and cache its contents."""
    call = execution._async_map_node_over_list

    async def observed_call(prompt_id, unique_id, obj, input_data_all, func, *args, **kwargs):
        if not _watch.is_used or func == getattr(obj, "FUNCTION", None):
            return await call(prompt_id, unique_id, obj, input_data_all, func, *args, **kwargs)
        with _Observation() as observation:
            answer = await call(prompt_id, unique_id, obj, input_data_all, func, *args, **kwargs)
        _opened_before[unique_id] |= observation.opened
        return answer

    execution._async_map_node_over_list = observed_call


class _Observation:
    """The places opened during the block."""

    def __init__(self):
        self.opened = set()

    def __enter__(self):
        _record_opened()  # before this block
        _observations.append(self)
        return self

    def __exit__(self, *exception):
        _record_opened()
        _observations.remove(self)


def _record_opened():
    listed = [_listed.pop() for _ in range(len(_listed))]
    opened = {place for path in _watch.opened() for place in _places.get(path, (path,))} | _watch.among(listed)
    for observation in _observations:
        observation.opened |= opened


def _checked_later(result, node_id, class_, inputs):
    if not isinstance(result, asyncio.Task):
        return result

    async def checked():
        with _Observation() as observation:
            answer = await result
        _check(node_id, class_, inputs, observation.opened)
        return answer

    return asyncio.create_task(checked())


def begin():
    """Starts a run, whose files are known."""
    _places.clear()
    _opened_before.clear()
    for folder in run_files.current.folders:
        _watch.add(folder)
    watch(run_files.current.files)


def watch(places):
    """Watches files at their resolved paths, because their places are links."""
    for place in places:
        real = os.path.realpath(place)
        _places[real].add(place)
        _watch.add(os.path.dirname(real))


def unnamed_by(class_):
    """The folders in which a class has opened files that its inputs do not name."""
    return _unnamed.get(class_, ())


def _check(node_id, class_, inputs, opened):
    """Learns from the files that a node opened. Raises AnsweredFromMemory if it did not open one that has changed."""
    opened = opened | _opened_before[node_id]
    files, values = run_files.current, list(inputs.values())
    named = files.named(values) | _missing(values)
    if opened:
        _learn(node_id, class_, named, opened)
    within = [files.below(folder) for folder in files.folders & named.keys()]
    for reader in (class_, *_pack_of(class_)):
        for targets in (named, *within):
            _compare(reader, targets, opened)
    # A string may make a node read other files (an embedding, a prefix of names) than another string.
    unnamed = {folder: files.tree(folder) for folder in unnamed_by(class_)}
    _compare((class_, frozenset(run_files.texts_in(values))), unnamed, opened)


def _missing(values):
    """place -> None for the files that these values named in an earlier run and that do not exist in this one."""
    names = run_files.names_in(values)
    places = {place for name in names for place in _opened_by_name.get(name, ())}
    return {place: None for place in places if run_files.current.identity(place) is None}


def _compare(reader, targets, opened):
    touched = {each for place in opened for each in _with_folders(place)}
    for target, identity in targets.items():
        seen = _seen[reader, target]
        if target in touched:
            seen.add(identity)
        elif seen and identity not in seen:
            raise AnsweredFromMemory(target)


def _learn(node_id, class_, named, opened):
    files = run_files.current
    known = {*named, *Upstream(get_progress_state().dynprompt).named(node_id)}
    for place in opened:
        if known.isdisjoint(_with_folders(place)):
            _unnamed[class_].update(_root_of(place))
        if (identity := files.identity(place)) is None:
            continue
        for reader in (class_, *_pack_of(class_)):
            _seen[reader, place].add(identity)
        for name in files.names_of(place):
            _opened_by_name[name].add(place)


def _with_folders(place):
    while place not in ("", os.sep):
        yield place
        place = os.path.dirname(place)


def _root_of(place):
    """[the folder of a place: input/, or models/<kind>/]; [] for any other place."""
    match os.path.relpath(place, run_files.BASE).split(os.sep):
        case ["input", *_]:
            return [os.path.join(run_files.BASE, "input")]
        case ["models", kind, *_]:
            return [os.path.join(run_files.MODELS, kind)]
    return []


def _pack_of(class_):
    """[the pack of a class], since the classes of a pack share a memory; [] for ComfyUI's own classes."""
    module = getattr(class_, "RELATIVE_PYTHON_MODULE", "")
    return [module] if module.startswith("custom_nodes.") else []
