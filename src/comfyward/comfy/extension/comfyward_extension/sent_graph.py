"""Gives nodes that save the graph the graph that was sent.

ComfyUI changes a graph in place while it validates it: it casts numbers and unwraps wrapped lists. The `PROMPT` of a
node is the graph from before, unless nothing has changed.
"""

import json

from comfy_execution.graph import DynamicPrompt

_prompt, _sent, _given = None, "", None


def install():
    """Makes every access to the original prompt return the graph that was sent."""
    DynamicPrompt.get_original_prompt = lambda self: _graph_for_nodes(self.original_prompt)


def begin(prompt):
    """Starts a run with this graph, before it is validated."""
    global _prompt, _sent, _given
    _prompt, _sent, _given = prompt, json.dumps(prompt), None


def _graph_for_nodes(prompt):
    """The same object for all nodes of a run, since nodes may pass data to each other in it."""
    global _given
    if prompt is not _prompt:
        return prompt
    if _given is None:
        _given = prompt if json.dumps(prompt) == _sent else json.loads(_sent)
    return _given
