"""comfyward's extension of ComfyUI, loaded as a custom node. It uses only the standard library and ComfyUI.

It opens a Unix socket for ComfyUI's application, exports the catalog, lists what packs bring for the editor, gives
ComfyUI the folders that packs expect (`folders`), extends its messages, and adds one node that clients expect. It also
makes a long-lived ComfyUI correct for a service, where a name stands for different bytes in each run:

- `run_files`: gives nodes the files of the current run at paths that differ whenever their bytes differ;
- `fingerprints`: lets ComfyUI reuse a node's result, or its object, only while the files that it read are unchanged;
- `reads`: observes the files that nodes open, to catch a node that answers from its memory;
- `sent_graph`: gives nodes that save the graph the graph that was sent.
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
    web_files,
)

NODE_CLASS_MAPPINGS = {pictures.NAME: nodes.NODE_CLASS_MAPPINGS.get(pictures.NAME, pictures.SaveImageWebsocket)}

_server = PromptServer.instance
catalog.add_route(_server)
web_files.add_route(_server)
folders.allow_linked_inputs()
messages.add_to(_server)
executor.guard()
run_files.install()
fingerprints.install()
reads.install()
sent_graph.install()


def _on_prompt(data):
    """Called by ComfyUI for every submitted prompt, before it is validated. The one before it was read."""
    _server.prompt_queue.wipe_history()  # whole graphs and results, else for as long as ComfyUI lives
    run_files.begin(data.pop("comfyward_files", None) or {})
    reads.begin()
    sent_graph.begin(data.get("prompt"))
    return data


def _on_ready():
    folders.add_model_folders()
    # After every pack's own handler, whose changes belong to the graph.
    _server.add_on_prompt_handler(_on_prompt)


unix_socket.open_when_ready(_server, _on_ready)
