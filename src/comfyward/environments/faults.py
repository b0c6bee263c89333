"""Tells a fault of the network, which may pass, from an error that would be the same again."""

from __future__ import annotations

import re

from comfyward.errors import ComfywardError, FetchFailed, FetchRefused, HostBusy, HostSlow, SetupFailed

# Of uv, git and our own downloads.
_PASSING = re.compile(
    r"timed out|timeout|longer than \d+ s|connection (refused|reset|closed|aborted)|could not (resolve|connect)|"
    r"failed to connect|dns error|failed to lookup|temporary failure|network is unreachable|no route to host|"
    r"error sending request|error decoding response body|server error \(5\d\d|returned error: (429|5\d\d)|"
    r"recv failure|hung up|early EOF|operation too slow|broke off|ended after",
    re.IGNORECASE,
)


def may_pass(error: ComfywardError) -> bool:
    """True if the same again may succeed, by nobody's doing."""
    match error:
        case FetchRefused():
            return False
        case HostBusy() | HostSlow():
            return True
        case FetchFailed(details={"http_status": int(status)}):
            return status == 429 or status >= 500
        case FetchFailed(details={"host": _}):
            return True
        case FetchFailed() | SetupFailed():
            return _PASSING.search(error.message) is not None
        case _:
            return False


def last_line(text: str) -> str:
    """The last line of what a program said, which names the reason; "no reason was given" if it said nothing."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no reason was given"
