"""The files that nodes name: each node's own, and those of the nodes upstream of it."""

from comfy_execution.graph_utils import is_link

from . import run_files


class Upstream:
    """The files named by a node or by nodes upstream, since a name may arrive over a link."""

    def __init__(self, dynprompt):
        self._dynprompt, self._found = dynprompt, {}

    def named(self, node_id):
        """place -> identity."""
        waiting = [(node_id, False)]
        while waiting:
            current, is_expanded = waiting.pop()
            if is_expanded:
                for source in self._sources(current):
                    self._found[current].update(self._found.get(source, {}))
            elif current not in self._found:
                self._found[current] = dict(run_files.current.named(constants(self._node(current))))
                waiting.append((current, True))
                waiting.extend((source, False) for source in self._sources(current))
        return self._found[node_id]

    def _node(self, node_id):
        return self._dynprompt.get_node(node_id) if self._dynprompt.has_node(node_id) else {"inputs": {}}

    def _sources(self, node_id):
        return [value[0] for value in self._node(node_id)["inputs"].values() if is_link(value)]


def constants(node):
    """The values of a node's inputs that come over no link."""
    return [value for value in node["inputs"].values() if not is_link(value)]
