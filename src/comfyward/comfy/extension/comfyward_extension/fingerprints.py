"""Fingerprints of the files behind names, as a part of ComfyUI's cache keys.

ComfyUI reuses a node's result while its inputs stay equal, and a node's object while its id and class do. That is wrong
for a service in three ways, each corrected where ComfyUI makes the key:

- A cached output node writes no file: the key of an output node never equals itself.
- A name stays the same when its bytes change: the key of a node includes the fingerprint of all files that its inputs
  name, beside the class's own answer (`IS_CHANGED`, `fingerprint_inputs`).
- The object of a node remembers what it loaded: its key includes the fingerprint of the files named by it and by every
  node upstream.

ComfyUI writes the answers into the graph that nodes save in their files; they are removed from it here.
"""

import execution
import nodes

from . import reads, run_files
from .upstream import Upstream, constants


class Fingerprint(str):
    """The files that a node names, compared together with unnamed ones that its class is known to read.

    It is a str because ComfyUI makes keys of plain values only.
    """

    def __new__(cls, class_, named, files):
        self = super().__new__(cls, class_.__name__)
        self.class_, self.named, self.files = class_, frozenset(named.items()), files
        return self

    def __hash__(self):
        return hash((self.class_, self.named))

    def __eq__(self, other):
        if not isinstance(other, Fingerprint) or (self.class_, self.named) != (other.class_, other.named):
            return False
        return all(self.files.tree(folder) == other.files.tree(folder) for folder in reads.unnamed_by(self.class_))

    def __ne__(self, other):
        return not self == other


class FileAwareIsChangedCache(execution.IsChangedCache):
    """Adds the fingerprint to a class's own answer."""

    async def get(self, node_id):
        if node_id not in self.is_changed:
            node = self.dynprompt.get_node(node_id)
            class_ = nodes.NODE_CLASS_MAPPINGS[node["class_type"]]
            self.is_changed[node_id] = await self._answer(node_id, node, class_)
        return self.is_changed[node_id]

    async def _answer(self, node_id, node, class_):
        node.pop("is_changed", None)  # left by an earlier ComfyUI in a graph that was loaded from a file
        if getattr(class_, "OUTPUT_NODE", False) is True:
            return float("NaN")
        answer = await super().get(node_id)
        node.pop("is_changed", None)
        named = run_files.current.named(constants(node))
        reads.watch(named)
        return [answer, Fingerprint(class_, named, run_files.current)]


class FileAwareObjectKeys(execution.CacheKeySetID):
    """Keys of node objects, which differ when files change that the objects may have read."""

    def __init__(self, dynprompt, node_ids, is_changed_cache):
        super().__init__(dynprompt, node_ids, is_changed_cache)
        self._upstream = Upstream(dynprompt)

    async def add_keys(self, node_ids):
        new = [node_id for node_id in node_ids if node_id not in self.keys]
        await super().add_keys(node_ids)
        for node_id in new:
            if node_id in self.keys:
                class_ = nodes.NODE_CLASS_MAPPINGS[self.dynprompt.get_node(node_id)["class_type"]]
                fingerprint = Fingerprint(class_, self._upstream.named(node_id), run_files.current)
                self.keys[node_id] = (*self.keys[node_id], fingerprint)


def install():
    """Replaces ComfyUI's classes in its executor."""
    execution.IsChangedCache = FileAwareIsChangedCache
    execution.CacheKeySetID = FileAwareObjectKeys
