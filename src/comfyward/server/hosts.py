"""Two origins on one port: the website's and the editor's, told apart by the host that a request names."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from comfyward.api.editor_address import EditorAddress


class ByHost:
    """Passes requests for the editor's host to one application, all others to the other."""

    def __init__(self, address: EditorAddress, editor: ASGIApp, website: ASGIApp) -> None:
        self._address, self._editor, self._website = address, editor, website

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        is_editors = self._address.serves(host.decode("latin-1"))
        await (self._editor if is_editors else self._website)(scope, receive, send)
