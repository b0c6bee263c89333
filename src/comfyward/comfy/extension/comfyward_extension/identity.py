"""What ComfyUI's cache must know that names do not tell.

ComfyUI keeps a node's result while its inputs stay equal. Two things are wrong with that for a service:

- An output node that is cached writes no file. Every output node is therefore given ComfyUI's own hook
  (`IS_CHANGED`, or `fingerprint_inputs` for nodes of the newer API) with an answer that never equals itself.
- A model name stays equal when the file behind it is another. A node without a hook of its own is therefore given one
  that answers with the identity (inode, time, size) of every file that its text inputs name, embeddings in prompt
  texts included. A name that a run brings is a link to a blob, so its identity is that of the content.
"""

import os
import re

import folder_paths
import nodes
from comfy_api.internal import _ComfyNodeInternal, first_real_override

MAX_NAME_LENGTH = 1024
EMBEDDING = re.compile(r"embedding:(\S+)")
EMBEDDING_SUFFIXES = ("", ".safetensors", ".pt", ".bin")
NOT_MODELS = ("custom_nodes", "configs")

_ours = set()


def on_prompt(data):
    """Called by ComfyUI for every submitted prompt, before it is validated."""
    # Lists of files are cached by the folder's time, which two changes within one clock tick do not move.
    folder_paths.filename_list_cache.clear()
    prompt = data.get("prompt")
    if isinstance(prompt, dict):
        for node in prompt.values():
            if isinstance(node, dict):
                _give_hook(node)
    return data


def _give_hook(node):
    class_ = nodes.NODE_CLASS_MAPPINGS.get(node.get("class_type"))
    if class_ is None or class_ in _ours:
        return
    if getattr(class_, "OUTPUT_NODE", False) is True:
        _set_hook(class_, _always_changed)
    elif not _has_hook(class_) and _names_files(node.get("inputs")):
        _set_hook(class_, _identities)


def _names_files(inputs):
    return isinstance(inputs, dict) and any(_candidates(value) for value in inputs.values())


def _has_hook(class_):
    if issubclass(class_, _ComfyNodeInternal):
        return first_real_override(class_, "fingerprint_inputs") is not None
    return hasattr(class_, "IS_CHANGED")


def _set_hook(class_, answer):
    name = "fingerprint_inputs" if issubclass(class_, _ComfyNodeInternal) else "IS_CHANGED"
    setattr(class_, name, classmethod(lambda cls, **inputs: answer(inputs)))
    _ours.add(class_)


def _always_changed(inputs):
    return float("NaN")


def _identities(inputs):
    names = sorted({name for value in inputs.values() for name in _candidates(value)})
    return [(name, _identity(name)) for name in names]


def _candidates(value):
    """The file names that a value may hold: itself, and the embeddings that it mentions."""
    if isinstance(value, (list, tuple)):
        return [name for item in value for name in _candidates(item)]
    if not isinstance(value, str) or "\0" in value:
        return []
    names = [f"embeddings/{name.strip(',()')}" for name in EMBEDDING.findall(value)]
    if len(value) <= MAX_NAME_LENGTH and "\n" not in value and os.path.splitext(value)[1]:
        names.append(value)
    return names


def _identity(name):
    if name.startswith("embeddings/"):
        stem = name[len("embeddings/") :].split(":")[0]
        return [
            _stat(os.path.join(folder, stem + suffix))
            for folder in _folders("embeddings")
            for suffix in EMBEDDING_SUFFIXES
        ]
    return [_stat(os.path.join(folder, name)) for kind in _kinds() for folder in _folders(kind)]


def _kinds():
    return sorted(kind for kind in folder_paths.folder_names_and_paths if kind not in NOT_MODELS)


def _folders(kind):
    return folder_paths.get_folder_paths(kind) if kind in folder_paths.folder_names_and_paths else []


def _stat(path):
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size)
