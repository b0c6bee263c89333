"""Writes down what a ComfyUI asks of web servers, in a trial that learns which files its packs fetch.

The addresses stand in tunnels that nobody outside can read. Python tells them to audit hooks: of urllib, requests and
whatever else is built on http.client. The record is as hostile as the packs: each address is fetched again before
anybody believes it. Standard library only: ComfyUI's own Python runs it.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any, Optional

MOST = 2000
LONGEST = 4000
_GET = re.compile(rb"GET ([^ \r\n]+) HTTP/")


def begin(path: str) -> None:
    """Records from now on, in this process and its forks, as lines of JSON. Raises OSError."""
    record = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    left = [MOST]

    def hook(event: str, args: Any) -> None:
        if event != "http.client.send" or left[0] <= 0:
            return
        try:
            url = _url_of(*args)
            if url is not None and len(url) <= LONGEST:
                left[0] -= 1
                os.write(record, (json.dumps(url) + "\n").encode())
        except Exception:
            return

    sys.addaudithook(hook)


def _url_of(connection: Any, data: Any) -> Optional[str]:
    """The address of a request that is being sent; None if it is none, or gets nothing."""
    if not isinstance(data, (bytes, bytearray)):
        return None
    match = _GET.match(bytes(data[: LONGEST + 20]))
    if match is None:
        return None
    target = match[1].decode("ascii", "replace")
    if target.startswith("http://"):  # to a proxy
        return target
    tunnel = getattr(connection, "_tunnel_host", None)
    host, port = (tunnel, connection._tunnel_port) if tunnel else (connection.host, connection.port)
    scheme = "https" if connection.default_port == 443 else "http"
    host = f"[{host}]" if ":" in str(host) else host
    own = port is None or port == connection.default_port
    return f"{scheme}://{host}{'' if own else f':{port}'}{target}"
