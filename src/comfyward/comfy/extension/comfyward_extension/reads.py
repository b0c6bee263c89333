"""What nodes really open among the files of runs, seen by the kernel (inotify): also what C code and programs open.

Two things follow from it:

- A class that opens files which its inputs do not name (a whole folder, a name computed at run time) depends on
  everything that a run brings into that folder. It is learned when it happens; see `fingerprints`.
- A node that opened a file before, is executed now that the file is another or gone, and opens nothing, answers from
  its memory: a dict of its module, an attribute of its class, an `lru_cache`. That result is refused, and the run
  is tried again in a new process.
"""

import asyncio
import ctypes
import logging
import os
import struct
from collections import defaultdict

import execution
from comfy_execution.progress import get_progress_state

from . import fingerprints, run_files

IN_OPEN, IN_IGNORED, IN_Q_OVERFLOW = 0x20, 0x8000, 0x4000
EVENT = struct.Struct("iIII")
BUFFER_BYTES = 1 << 16


class AnsweredFromMemory(Exception):
    """The worker knows it by this name."""

    def __init__(self, place):
        super().__init__(f"{os.path.basename(place)} is not what it was before, and the node did not read it.")


AnsweredFromMemory.__module__ = "comfyward"


class Watch:
    """The folders that are watched; what was opened in them since the last question."""

    def __init__(self):
        self._folders = {}
        self._libc = ctypes.CDLL(None, use_errno=True)
        try:
            self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        except AttributeError:  # another system than Linux
            self._fd = -1
        if self._fd < 0:
            logging.error(
                "The files that nodes open cannot be watched (inotify): what a node remembers is not noticed."
            )

    @property
    def is_used(self):
        return bool(self._folders)

    def add(self, folder):
        if self._fd < 0:
            return
        number = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), IN_OPEN)
        if number >= 0:
            self._folders[number] = folder

    def opened(self):
        """Paths opened since the last call; every watched folder when too many were."""
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
                elif number in self._folders:
                    found.add(os.path.join(self._folders[number], os.fsdecode(name)).rstrip(os.sep))
        return found

    def _read(self):
        try:
            return os.read(self._fd, BUFFER_BYTES)
        except BlockingIOError:
            return b""


_watch = Watch()
_places = defaultdict(set)  # path of a file where it really lies -> its places
_windows = []  # of nodes that are being executed: more than one when they are asynchronous
_unnamed = defaultdict(set)  # class -> folders in which it opened what its inputs do not name
_seen = defaultdict(set)  # (reader, file or folder) -> what was there when it was opened
_opened_by_name = defaultdict(set)  # name -> files and folders that were opened in any run, by each name they had
_opened_before = defaultdict(set)  # node -> places opened in this run when it was asked something before its execution


def install():
    """Looks on whenever ComfyUI executes a node, or asks it something before."""
    _look_on_questions()
    execute = execution.get_output_data

    async def get_output_data(prompt_id, unique_id, obj, input_data_all, *args, **kwargs):
        if not _watch.is_used:
            return await execute(prompt_id, unique_id, obj, input_data_all, *args, **kwargs)
        with _Window() as window:
            results, ui, has_subgraph, is_pending = await execute(
                prompt_id, unique_id, obj, input_data_all, *args, **kwargs
            )
        if is_pending:
            results = [_judged_later(each, unique_id, type(obj), input_data_all) for each in results]
        else:
            _judge(unique_id, type(obj), input_data_all, window.opened)
        return results, ui, has_subgraph, is_pending

    execution.get_output_data = get_output_data


def _look_on_questions():
    """`VALIDATE_INPUTS`, `IS_CHANGED` and `check_lazy_status` may open a file and keep what it holds."""
    call = execution._async_map_node_over_list

    async def call_and_note(prompt_id, unique_id, obj, input_data_all, func, *args, **kwargs):
        if not _watch.is_used or func == getattr(obj, "FUNCTION", None):
            return await call(prompt_id, unique_id, obj, input_data_all, func, *args, **kwargs)
        with _Window() as window:
            answer = await call(prompt_id, unique_id, obj, input_data_all, func, *args, **kwargs)
        _opened_before[unique_id] |= window.opened
        return answer

    execution._async_map_node_over_list = call_and_note


class _Window:
    """What is opened while a node is executed."""

    def __enter__(self):
        _note_opened()  # by others, before
        self.opened = set()
        _windows.append(self)
        return self

    def __exit__(self, *exception):
        _note_opened()
        _windows.remove(self)


def _note_opened():
    opened = {place for path in _watch.opened() for place in _places.get(path, (path,))}
    for window in _windows:
        window.opened |= opened


def _judged_later(result, node_id, class_, inputs):
    if not isinstance(result, asyncio.Task):
        return result

    async def judged():
        with _Window() as window:
            answer = await result
        _judge(node_id, class_, inputs, window.opened)
        return answer

    return asyncio.create_task(judged())


def begin():
    """Called when a run's files are known."""
    _places.clear()
    _opened_before.clear()
    for folder in run_files.present.folders:
        _watch.add(folder)
    watch(run_files.present.files)


def watch(places):
    """Follows files that may be opened to where they really lie: their places are links."""
    for place in places:
        real = os.path.realpath(place)
        _places[real].add(place)
        _watch.add(os.path.dirname(real))


def unnamed_by(class_):
    """The folders in which a class reads what its inputs do not name."""
    return _unnamed.get(class_, ())


def _judge(node_id, class_, inputs, opened):
    """Learns from what a node opened. Raises AnsweredFromMemory when it should have opened a file and did not."""
    opened = opened | _opened_before[node_id]
    files, values = run_files.present, list(inputs.values())
    named = files.named(values) | _gone(values)
    if opened:
        _learn(node_id, class_, named, opened)
    within = [files.below(folder) for folder in files.folders & named.keys()]
    for reader in (class_, *_pack_of(class_)):
        for targets in (named, *within):
            _compare(reader, targets, opened)
    # What a text makes a node read (an embedding, a beginning of names), another text does not.
    unnamed = {folder: files.tree(folder) for folder in unnamed_by(class_)}
    _compare((class_, frozenset(run_files.texts_in(values))), unnamed, opened)


def _gone(values):
    """What these values named in an earlier run, and is not there in this one."""
    names = run_files.names_in(values)
    places = {place for name in names for place in _opened_by_name.get(name, ())}
    return {place: None for place in places if run_files.present.identity(place) is None}


def _compare(reader, targets, opened):
    touched = {each for place in opened for each in _with_folders(place)}
    for target, identity in targets.items():
        seen = _seen[reader, target]
        if target in touched:
            seen.add(identity)
        elif seen and identity not in seen:
            raise AnsweredFromMemory(target)


def _learn(node_id, class_, named, opened):
    files = run_files.present
    known = {*named, *fingerprints.Upstream(get_progress_state().dynprompt).named(node_id)}
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
    """input/, or the folder of a kind of models below models/; nothing for what is not below the base folder."""
    match os.path.relpath(place, run_files.BASE).split(os.sep):
        case ["input", *_]:
            return [os.path.join(run_files.BASE, "input")]
        case ["models", kind, *_]:
            return [os.path.join(run_files.MODELS, kind)]
    return []


def _pack_of(class_):
    """The pack that a class belongs to, since its classes share a memory; ComfyUI's own do not."""
    module = getattr(class_, "RELATIVE_PYTHON_MODULE", "")
    return [module] if module.startswith("custom_nodes.") else []
