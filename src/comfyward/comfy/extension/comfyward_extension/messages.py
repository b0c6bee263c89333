"""What ComfyUI's messages lack for a service, added where they are sent.

- `executing` also says whether the node is an output node, and which files lie in output/ when it starts: those are
  whole, whatever the node then does. They are listed when they are others than in the message before.
- What a node shows may hold things that JSON cannot (a tensor, a set): ComfyUI's sender would die of them, and its
  history could not be read. They are shown as texts.
"""

import json
import logging
import os

import folder_paths
import nodes
from comfy_execution.progress import get_progress_state

MAX_FILES = 1000
MAX_DEPTH = 64
KEY = "comfyward"

_told = {}


def add_to(server):
    send = server.send_sync

    def send_sync(event, data, sid=None):
        try:
            if event == "executing" and data.get("node") is not None:
                data = {**data, KEY: _about(data)}
            elif event == "executed":
                _make_plain(data.get("output"))
        except Exception:
            logging.exception("comfyward could not add to a message")
        return send(event, data, sid)

    server.send_sync = send_sync


def _about(data):
    about = {"is_output": _is_output(data["node"])}
    files = list(_files(folder_paths.get_output_directory()))
    if _told.get(data["prompt_id"]) != files:
        _told.clear()
        _told[data["prompt_id"]] = files
        about["files"] = files if len(files) <= MAX_FILES else []
    return about


def _is_output(node_id):
    node = get_progress_state().dynprompt.get_node(node_id)
    return getattr(nodes.NODE_CLASS_MAPPINGS[node["class_type"]], "OUTPUT_NODE", False) is True


def _files(folder, prefix=""):
    """[name, size, time] of each file below a folder, of a few more than will be told."""
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


def _make_plain(shown):
    """Changes it in place: ComfyUI's history holds the same object."""
    try:
        json.dumps(shown)
    except (TypeError, ValueError, RecursionError):
        if isinstance(shown, dict):
            plain = _plain(shown)
            shown.clear()
            shown.update(plain)


def _plain(value, inside=()):
    if value is None or isinstance(value, (str, int, float)):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()  # a number of numpy's or torch's
    if len(inside) < MAX_DEPTH and id(value) not in inside:
        inside = (*inside, id(value))
        if isinstance(value, dict):
            return {str(key): _plain(item, inside) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [_plain(item, inside) for item in value]
    return f"<{type(value).__name__}>"
