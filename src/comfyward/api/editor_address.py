"""The origin of ComfyUI's editor: a host name of its own, so that scripts there have no rights on the website."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

LOCAL_HOST = "editor.localhost"  # browsers find this machine under each name below localhost


@dataclass(frozen=True)
class EditorAddress:
    """`configured` is the origin that the operator chose, if any."""

    configured: str | None

    def of(self, page_origin: str) -> str | None:
        """The editor's origin for pages of this origin; None if it has none of its own."""
        if self.configured is not None:
            return self.configured
        page = urlsplit(page_origin)
        if page.scheme != "http" or not is_loopback(page.hostname or ""):
            return None
        return f"http://{LOCAL_HOST}" + (f":{page.port}" if page.port else "")

    def serves(self, host: str) -> bool:
        """True if a request with this Host is for the editor, whichever port it names."""
        return _name(host) == (LOCAL_HOST if self.configured is None else urlsplit(self.configured).hostname)


def is_loopback(host: str) -> bool:
    """True for the names and addresses of this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """The host name in a Host header, in lower case; empty if it has none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return ""
