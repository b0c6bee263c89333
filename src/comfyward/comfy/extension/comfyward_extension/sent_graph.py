"""Nodes that save the graph into a file get it as it was sent.

ComfyUI changes a graph in place while it validates it: numbers are cast, wrapped lists unwrapped. What nodes are given
as `PROMPT` is the graph that it was before, unless nothing has changed.
"""

import json

from comfy_execution.graph import DynamicPrompt

_prompt, _sent, _given = None, "", None


def install():
    """Makes every way to ask for the graph answer with the one that was sent."""
    DynamicPrompt.get_original_prompt = lambda self: _graph_for_nodes(self.original_prompt)


def begin(prompt):
    """Called with each submitted graph before it is validated."""
    global _prompt, _sent, _given
    _prompt, _sent, _given = prompt, json.dumps(prompt), None


def _graph_for_nodes(prompt):
    """One object for all nodes of a run: what a node writes into it, on purpose, the next one finds."""
    global _given
    if prompt is not _prompt:
        return prompt
    if _given is None:
        _given = prompt if json.dumps(prompt) == _sent else json.loads(_sent)
    return _given
