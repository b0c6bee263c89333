"""The origin of ComfyUI's editor: a host name of its own, so that scripts there have no rights on the website."""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

EACH, LABEL_LENGTH = "*", 20
LOCAL_HOST = "editor.localhost"  # browsers find this machine under each name below localhost


@dataclass(frozen=True)
class EditorAddress:
    """`configured` is the origin that the operator chose, if any. Its host may begin with "*.", as the default one's.

    Then each account has a host name of its own, and what browsers store for one is nothing to another."""

    configured: str | None

    def of(self, page_origin: str, account_id: str) -> str | None:
        """The origin of an account's editor for pages of this origin; None if it has none of its own."""
        pattern = self.pattern(page_origin)
        return None if pattern is None else pattern.replace(EACH, label_of(account_id))

    def pattern(self, page_origin: str) -> str | None:
        """The same for all accounts, with a star in place of the account's name."""
        if self.configured is not None:
            return self.configured
        page = urlsplit(page_origin)
        if page.scheme != "http" or not is_loopback(page.hostname or ""):
            return None
        return f"http://{EACH}.{LOCAL_HOST}" + (f":{page.port}" if page.port else "")

    def serves(self, host: str) -> bool:
        """True if a request with this Host is for the editor, whichever port it names."""
        name = _name(host)
        if self.configured is None:
            return name == LOCAL_HOST or _is_below(name, LOCAL_HOST)
        configured = urlsplit(self.configured).hostname or ""
        if configured.startswith(f"{EACH}."):
            return _is_below(name, configured.removeprefix(f"{EACH}."))
        return name == configured


def label_of(account_id: str) -> str:
    """The name of an account in its editor's host, and in the editor's page: it tells nothing of the account."""
    return hashlib.sha256(f"editor of {account_id}".encode()).hexdigest()[:LABEL_LENGTH]


def is_loopback(host: str) -> bool:
    """True for the names and addresses of this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_below(name: str, parent: str) -> bool:
    """True for a name with one label more than its parent."""
    label, _, rest = name.partition(".")
    return bool(label) and rest == parent


@functools.lru_cache(maxsize=64)  # every request has one, and most have the same
def _name(host: str) -> str:
    """The host name in a Host header, in lower case; empty if it has none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return ""
