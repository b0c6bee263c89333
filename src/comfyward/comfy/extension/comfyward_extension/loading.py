"""Records the packs, and the files of ComfyUI's own nodes, that fail to load. ComfyUI logs the failure and continues.

`nodes.load_custom_node` loads packs and ComfyUI's own extra nodes, and returns True on success; the reason of a failure
is the exception that is being handled while it logs.
"""

import importlib.util
import logging
import os
import re
import sys
import traceback

failures = []  # {"name", "kind", "error", "traceback", "classes"}

MAX_FILES, MAX_FILE_BYTES, MAX_CLASSES = 400, 4 << 20, 4000
MAX_TRACEBACK = 4000
# Names of classes in the source of a pack: the keys of its mapping, or the ids of the newer API.
_CLASS = re.compile(r"""(?:["']([^"'\n]{1,120})["']\s*:|node_id\s*=\s*["']([^"'\n]{1,120})["'])""")


def record_failures():
    """Starts recording; called before ComfyUI imports `nodes`."""
    logging.getLogger().addHandler(_startup_scripts)
    sys.meta_path.insert(0, _WhenNodesAreImported())


class _WhenNodesAreImported:
    def find_spec(self, name, path=None, target=None):
        if name != "nodes":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("nodes")
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            _watch(module)

        spec.loader.exec_module = exec_module
        return spec


def _watch(nodes):
    load = nodes.load_custom_node

    async def load_custom_node(module_path, *arguments, **named):
        reasons = _Reasons()
        logging.getLogger().addHandler(reasons)
        try:
            loaded = await load(module_path, *arguments, **named)
        finally:
            logging.getLogger().removeHandler(reasons)
        if not loaded:
            kind = "pack" if named.get("module_parent", "custom_nodes") == "custom_nodes" else "core"
            _record(module_path, kind, reasons.error, reasons.message)
        return loaded

    nodes.load_custom_node = load_custom_node


class _Reasons(logging.Handler):
    """Remembers the exception being handled at each warning: the last one is the reason of the failure."""

    def __init__(self):
        super().__init__()
        self.error, self.message = None, ""

    def emit(self, record):
        if record.levelno >= logging.WARNING and record.funcName == "load_custom_node":
            self.error = sys.exc_info()[1] or self.error
            self.message = record.getMessage()


class _StartupScripts(logging.Handler):
    """Records a `prestartup_script.py` that fails; ComfyUI still loads its pack."""

    def emit(self, record):
        if record.funcName == "execute_script" and record.levelno >= logging.ERROR:
            path = record.getMessage().partition(": ")[2].partition(" / ")[0]
            _record(os.path.dirname(path), "pack", sys.exc_info()[1], record.getMessage())


_startup_scripts = _StartupScripts()


def _record(path, kind, error, message):
    reason = {"error": _without_root(message), "traceback": ""} if error is None else described(error)
    name = os.path.basename(path.rstrip("/"))
    failures.append({"name": name, "kind": kind, **reason, "classes": _classes_in(path)})


def described(error):
    """An exception as one line and its traceback, with paths relative to ComfyUI's folder."""
    line = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    shown = "".join(traceback.format_exception(error))[-MAX_TRACEBACK:]
    return {"error": _without_root(line), "traceback": _without_root(shown)}


def _without_root(text):
    return text.replace(os.path.dirname(os.path.abspath(sys.argv[0])) + os.sep, "")


def _classes_in(path):
    """Strings in a pack's source that may name its classes. Others do no harm: only names of unknown classes are looked
    up in them."""
    found = set()
    for file in _sources(path):
        try:
            with open(file, encoding="utf-8", errors="replace") as source:
                text = source.read(MAX_FILE_BYTES)
        except OSError:
            continue
        found.update(key or node_id for key, node_id in _CLASS.findall(text))
    return sorted(found)[:MAX_CLASSES]


def _sources(path):
    if os.path.isfile(path):
        return [path]
    walked = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in sorted(names))
    sources = (file for file in walked if file.endswith(".py"))
    return [file for _, file in zip(range(MAX_FILES), sources, strict=False)]
