"""HTTP to servers on this machine: no TLS, so no certificates are loaded, which takes longer than most answers."""

from __future__ import annotations

from functools import partial

import httpx2

Client = partial(httpx2.Client, verify=False)
get = partial(httpx2.get, verify=False)
options = partial(httpx2.options, verify=False)
post = partial(httpx2.post, verify=False)
request = partial(httpx2.request, verify=False)
stream = partial(httpx2.stream, verify=False)
