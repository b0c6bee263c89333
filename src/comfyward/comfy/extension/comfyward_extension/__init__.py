"""comfyward's extension of ComfyUI, loaded as a custom node. Uses the standard library and ComfyUI only.

It opens a Unix socket on ComfyUI's own application, exports the catalog, makes ComfyUI's folders what packs expect
(`folders`), adds what its messages lack, and has one node that clients expect. And it makes a long-lived ComfyUI right
for a service, where one name stands for other bytes in each run:

- `run_files`: the files of the present run, found at paths that differ whenever their bytes differ;
- `fingerprints`: a node's result, and the object of a node, are kept only while what they read is unchanged;
- `reads`: what nodes really open, so that a node that answers from its memory is caught;
- `sent_graph`: nodes that save a graph get it as it was sent.
"""

import nodes
from server import PromptServer

from . import (
    catalog,
    executor,
    fingerprints,
    folders,
    messages,
    pictures,
    reads,
    run_files,
    sent_graph,
    unix_socket,
)

NODE_CLASS_MAPPINGS = {pictures.NAME: nodes.NODE_CLASS_MAPPINGS.get(pictures.NAME, pictures.SaveImageWebsocket)}

_server = PromptServer.instance
catalog.add_route(_server)
folders.let_inputs_be_links()
messages.add_to(_server)
executor.guard()
run_files.install()
fingerprints.install()
reads.install()
sent_graph.install()


def _on_prompt(data):
    """Called by ComfyUI for every submitted prompt, before it is validated."""
    run_files.begin(data.pop("comfyward_files", None) or {})
    reads.begin()
    sent_graph.begin(data.get("prompt"))
    return data


def _on_ready():
    folders.give_each_kind_a_folder()
    # After every pack's own handler: what these change belongs to the graph.
    _server.add_on_prompt_handler(_on_prompt)


unix_socket.open_when_ready(_server, _on_ready)
