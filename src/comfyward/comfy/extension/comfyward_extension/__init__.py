"""comfyward's extension of ComfyUI, loaded as a custom node. Uses the standard library and ComfyUI only.

It opens a Unix socket on ComfyUI's own application, exports the catalog, makes ComfyUI's folders what packs expect, and
ComfyUI's cache right for a service (see `folders.py` and `identity.py`), adds what its messages lack, and has one node
that clients expect.
"""

import nodes
from server import PromptServer

from . import catalog, executor, folders, identity, messages, pictures, unix_socket

NODE_CLASS_MAPPINGS = {pictures.NAME: nodes.NODE_CLASS_MAPPINGS.get(pictures.NAME, pictures.SaveImageWebsocket)}

_server = PromptServer.instance
_server.add_on_prompt_handler(identity.on_prompt)
catalog.add_route(_server)
folders.let_inputs_be_links()
messages.add_to(_server)
executor.guard()
unix_socket.open_when_ready(_server, folders.give_each_kind_a_folder)
