"""The part of a run's node results that its history keeps. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from comfyward.python_json import is_deeper
from comfyward.worker.reporter import Room

MAX_SHOWN_BYTES, MAX_SHOWN_DEPTH = 16 << 20, 100


def bounded(node_results: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
    """The node results for the history. A node with too much keeps only its files, or nothing."""
    room, outputs = Room(MAX_SHOWN_BYTES), dict[str, Any]()
    for node, result in node_results.items():
        for form in (result, _only_files(result)):
            if not is_deeper(form, MAX_SHOWN_DEPTH) and room.takes(len(node) + len(msgspec.json.encode(form))):
                outputs[node] = form
                break
    meta = {node: meta[node] for node in outputs if node in meta and not is_deeper(meta[node], MAX_SHOWN_DEPTH)}
    kept = {node: about for node, about in meta.items() if room.takes(len(msgspec.json.encode(about)))}
    return {"outputs": outputs, "meta": kept}


def _only_files(result: Mapping[str, Any]) -> dict[str, Any]:
    lists = {key: values for key, values in result.items() if isinstance(values, list)}
    return {
        key: files for key, values in lists.items() if (files := [each for each in values if isinstance(each, dict)])
    }
