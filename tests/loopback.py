"""HTTP to servers on this machine: no TLS, so no certificates are loaded, which takes longer than most answers."""

from __future__ import annotations

from functools import partial

import httpx2

ANSWERED_WITHIN_S = 120.0  # else five seconds, which a busy machine needs for less

Client = partial(httpx2.Client, verify=False, timeout=ANSWERED_WITHIN_S)
get = partial(httpx2.get, verify=False, timeout=ANSWERED_WITHIN_S)
options = partial(httpx2.options, verify=False, timeout=ANSWERED_WITHIN_S)
post = partial(httpx2.post, verify=False, timeout=ANSWERED_WITHIN_S)
request = partial(httpx2.request, verify=False, timeout=ANSWERED_WITHIN_S)
stream = partial(httpx2.stream, verify=False, timeout=ANSWERED_WITHIN_S)
