"""Extends ComfyUI's messages for a service, where they are sent.

- `executing` also tells whether the node is an output node, and which files are in output/ when it starts: those are
  complete, whatever the node does next. The files are sent only if they differ from those in the message before.
- The last message of a prompt (`executing` without a node) also has its history entry, unless that is long: nobody has
  to ask for it. ComfyUI has written it by then.
- A node's result may contain values that JSON cannot represent (a tensor, a set): ComfyUI's sender would fail, and its
  history would be unreadable. Such values are replaced by strings.
"""

import json
import logging
import os

import folder_paths
import nodes
from comfy_execution.progress import get_progress_state

MAX_FILES = 1000
MAX_DEPTH = 64
MAX_HISTORY_CHARACTERS = 64 << 10
HISTORY = ("outputs", "status", "meta")  # of an entry; the graph is known
KEY = "comfyward"

_last_files = {}  # prompt id -> files in its last message; of one prompt only


def add_to(server):
    send = server.send_sync

    def send_sync(event, data, sid=None):
        try:
            if event == "executing" and data.get("node") is not None:
                data = {**data, KEY: _extra(data)}
            elif event == "executing" and (entry := _history(server.prompt_queue, data["prompt_id"])) is not None:
                data = {**data, KEY: {"history": entry}}
            elif event == "executed":
                _make_serializable(data.get("output"))
        except Exception:
            logging.exception("comfyward could not extend a message")
        return send(event, data, sid)

    server.send_sync = send_sync


def _extra(data):
    extra = {"is_output": _is_output(data["node"])}
    files = list(_files(folder_paths.get_output_directory()))
    if _last_files.get(data["prompt_id"]) != files:
        _last_files.clear()
        _last_files[data["prompt_id"]] = files
        extra["files"] = files if len(files) <= MAX_FILES else []
    return extra


def _history(prompt_queue, prompt_id):
    """The history entry of a prompt; None while there is none, or if it is long."""
    with prompt_queue.mutex:
        entry = prompt_queue.history.get(prompt_id)
        if entry is None:
            return None
        text = json.dumps({name: entry[name] for name in HISTORY if name in entry})
    return json.loads(text) if len(text) <= MAX_HISTORY_CHARACTERS else None


def _is_output(node_id):
    node = get_progress_state().dynprompt.get_node(node_id)
    return getattr(nodes.NODE_CLASS_MAPPINGS[node["class_type"]], "OUTPUT_NODE", False) is True


def _files(folder, prefix=""):
    """[name, size in bytes, mtime in ns] of the files below a folder, or of a few more than MAX_FILES."""
    found = 0
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            for file in _files(entry.path, f"{prefix}{entry.name}/"):
                found += 1
                yield file
        else:
            found += 1
            stat = entry.stat(follow_symlinks=False)
            yield [prefix + entry.name, stat.st_size, stat.st_mtime_ns]
        if found > MAX_FILES:
            return


def _make_serializable(result):
    """Changes the result in place, because ComfyUI's history holds the same object."""
    try:
        json.dumps(result)
    except (TypeError, ValueError, RecursionError):
        if isinstance(result, dict):
            plain = _plain(result)
            result.clear()
            result.update(plain)


def _plain(value, inside=()):
    if value is None or isinstance(value, (str, int, float)):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()  # a number of NumPy or PyTorch
    if len(inside) < MAX_DEPTH and id(value) not in inside:
        inside = (*inside, id(value))
        if isinstance(value, dict):
            return {str(key): _plain(item, inside) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [_plain(item, inside) for item in value]
    return f"<{type(value).__name__}>"
