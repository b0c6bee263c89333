"""Bytecode: of what is installed, beside each module; of private copies, compiled once for all starts of a worker.

That of private copies is kept in the worker's memory, where no ComfyUI can change it, by the digest of the source. When
Python loads it, it compares it with the source beside it ("checked hash", PEP 552): bytecode of another file or of an
earlier version is never executed, whatever the times of the files say.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from comfyward.sandbox.inside import kernel
from comfyward.sandbox.walls import SOURCE

log = logging.getLogger(__name__)

COMPILE_TIMEOUT_S = 120.0
KEPT_BYTES = 256 << 20

# Run by ComfyUI's Python without its packages. It executes nothing of what it compiles.
_COMPILE = """
import importlib.util, marshal, struct, sys
def answer(data):
    sys.stdout.buffer.write(struct.pack("<I", len(data)) + data)
    sys.stdout.buffer.flush()
answer(sys.implementation.cache_tag.encode())
while length := sys.stdin.buffer.read(4):
    source = sys.stdin.buffer.read(struct.unpack("<I", length)[0])
    try:
        code = compile(source, "module", "exec", dont_inherit=True)
    except Exception:
        answer(b"")
    else:
        answer(importlib.util.MAGIC_NUMBER + b"\\3\\0\\0\\0" + importlib.util.source_hash(source) + marshal.dumps(code))
"""

# The pool of compileall would outlive it if it is killed: its processes wait for each other's ends of a pipe.
_COMPILE_FOLDERS = """
import compileall, concurrent.futures, functools, multiprocessing, os, signal, sys
sys.path.insert(0, sys.argv[1])
from comfyward.sandbox.inside.kernel import die_with
def end_with(parent):
    if not die_with(parent, signal.SIGKILL):
        os._exit(1)
concurrent.futures.ProcessPoolExecutor = functools.partial(
    concurrent.futures.ProcessPoolExecutor,
    mp_context=multiprocessing.get_context("fork"),
    initializer=end_with,
    initargs=(os.getpid(),),
)
for folder in sys.argv[2:]:
    compileall.compile_dir(folder, quiet=2, workers=0)
"""


def compile_folders(python: Path, *folders: Path) -> None:
    """Writes bytecode beside every module that has none; files that do not compile are skipped.

    Nothing of what is compiled is executed, nor of what is installed beside this Python. It ends with this process.
    """
    command = [str(python), "-I", "-S", "-c", _COMPILE_FOLDERS, str(SOURCE), *map(str, folders)]
    quiet = subprocess.DEVNULL
    subprocess.run(command, stdout=quiet, stderr=quiet, check=False, preexec_fn=kernel.die_with_us())


class Bytecode:
    """The bytecode that has been compiled so far."""

    def __init__(self) -> None:
        self._tags: dict[Path, str] = {}  # as in "module.cpython-311.pyc"
        self._compiled: dict[tuple[Path, str], bytes] = {}  # empty for what cannot be compiled
        self._lock = threading.Lock()

    def add_to(self, copy: Path, python: Path) -> None:
        """Writes bytecode beside the modules of a fresh copy that have none. Without it, each start compiles them.

        Nothing else may write to the copy meanwhile. Raises OSError.
        """
        with self._lock:
            if python not in self._tags:
                self._compile(python, ())
            tag = self._tags.get(python)
            sources = {} if tag is None else {path: path.read_bytes() for path in _modules_without(tag, copy)}
            digests = {path: hashlib.sha256(source).hexdigest() for path, source in sources.items()}
            self._compile_missing(python, {digests[path]: source for path, source in sources.items()})
            for path, digest in digests.items():
                bytecode = self._compiled.get((python, digest))
                if bytecode:
                    path.with_name("__pycache__").mkdir(exist_ok=True)
                    (path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc").write_bytes(bytecode)

    def _compile_missing(self, python: Path, sources: dict[str, bytes]) -> None:
        missing = [digest for digest in sources if (python, digest) not in self._compiled]
        if sum(map(len, self._compiled.values())) > KEPT_BYTES:
            self._compiled.clear()
            missing = list(sources)
        while missing:
            compiled = self._compile(python, [sources[digest] for digest in missing])
            if len(compiled) < len(missing):  # the compiler ended, and will again with this source
                compiled.append(b"")
            self._compiled.update({(python, digest): each for digest, each in zip(missing, compiled, strict=False)})
            missing = missing[len(compiled) :]

    def _compile(self, python: Path, sources: Sequence[bytes]) -> list[bytes]:
        """The bytecode of the sources in their order, up to one at which the compiler ended."""
        given = b"".join(struct.pack("<I", len(source)) + source for source in sources)
        command = [str(python), "-I", "-S", "-c", _COMPILE]
        try:
            done = subprocess.run(
                command, input=given, capture_output=True, env={}, cwd="/", timeout=COMPILE_TIMEOUT_S, check=False
            )
            answers = list(_records(done.stdout))
        except (OSError, subprocess.TimeoutExpired) as error:
            log.warning("packs are not compiled: %s", error, extra={"action": "packs_not_compiled"})
            return [b""] * len(sources)
        if answers:
            self._tags[python] = answers[0].decode()
        return answers[1:]


def _modules_without(tag: str, folder: Path) -> Iterator[Path]:
    """The modules in a folder that have no bytecode. No link is followed."""
    for path, folders, names in os.walk(folder):
        cache = Path(path, "__pycache__")
        has = set(os.listdir(cache)) if "__pycache__" in folders else set()
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            module = Path(path, name)
            if module.suffix == ".py" and f"{module.stem}.{tag}.pyc" not in has and _is_own(module, cache):
                yield module


def _is_own(module: Path, cache: Path) -> bool:
    return not (module.is_symlink() or cache.is_symlink())


def _records(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, at)
        if at + 4 + length > len(data):
            return
        yield data[at + 4 : at + 4 + length]
        at += 4 + length
