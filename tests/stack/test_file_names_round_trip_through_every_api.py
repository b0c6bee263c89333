"""Any name that ComfyUI's own upload takes makes the whole way: uploaded, named in a graph, run, written, fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests import loopback
from tests.stack.graphs import node
from tests.stack.stack import Client, Stack

# What a file system takes as a name; those that ComfyUI reads as "a [output]" or strips are written as "… [input]".
_LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="/\0")
NAMES = st.text(_LETTERS, min_size=1, max_size=80).filter(
    lambda name: name not in (".", "..") and len(name.encode()) <= 255
)
KNOWN_NAMES = [
    "Screenshot 2026-11-26 at 9.41.12\u202fAM.png",
    "no\u00a0break\u3000wide.png",
    "family \U0001f468\u200d\U0001f469\u200d\U0001f467.png",
    "\u202egnp.exe",
    "e\u0301 in two parts.png",
    "\u00e9 in one part.png",
    "20261126",
    ".hidden",
    "-dash",
    " space around . ",
    "...",
    "%41 100% #1?a=b&c.png",
    'it\'s "quoted".png',
    "back\\slash.png",
    "a\nb\r\tc\x7f.png",
    "line\n",
    "x [output]",
    "y [input]",
    "data:,x.png",
    "é" * 127,
    "a.very.long." + "x" * 243,
]


@pytest.fixture
def native(shared: Stack, client: Client) -> Iterator[httpx2.Client]:
    with loopback.Client(base_url=f"{shared.url}/comfy", headers={"X-API-Key": client.key}, timeout=60) as http:
        yield http


@pytest.fixture
def client(tenant: Client) -> Client:
    return tenant


def test_any_name_makes_the_round_trip_in_all_three_apis(client: Client, native: httpx2.Client) -> None:
    phases, checks = [Phase.explicit, Phase.generate], list(HealthCheck)

    @settings(max_examples=15, deadline=None, phases=phases, suppress_health_check=checks)
    @example(["y", "y [input]", "y [output]"])
    @example(KNOWN_NAMES)
    @given(st.lists(NAMES, min_size=1, max_size=8, unique=True))
    def round_trip(names: Sequence[str]) -> None:
        _round_trip(client, native, names)

    round_trip()


def _round_trip(client: Client, native: httpx2.Client, names: Sequence[str]) -> None:
    data = {}
    for name in names:
        for path, upload in ((name, _upload), (f"by v1/{name}", _upload_by_v1), (f"by v2/{name}", _upload_by_v2)):
            data[path] = f"bytes of {path!r}".encode()
            upload(native if upload is _upload else client.http, path, data[path])
    for path in data:
        folder, _, name = path.rpartition("/")
        query = f"filename={quote(f'{name} [input]', safe='')}&subfolder={quote(folder)}"
        _check(native, f"/view?{query}", name, data[path])
        _check(client.http, f"/api/v1/view/workflows/default/input/{quote(path, safe='')}", name, data[path])

    run = client.run({str(index): _copy(path) for index, path in enumerate(data)})

    assert run["status"] == "COMPLETED", run["error"]
    v2 = client.http.get(f"/api/v2/jobs/{run['prompt_id']}").json()
    for entry, output in zip(run["output"], v2["outputs"], strict=True):
        path = output["name"]
        folder, _, name = path.rpartition("/")
        assert entry["filename"].endswith(f"/{path}")
        _check(client.http, entry["url"], name, data[path])
        _check(client.http, output["url"], name, data[path])
        for subfolder in (f"{run['id']}/{folder}", folder):
            query = f"filename={quote(name, safe='')}&subfolder={quote(subfolder)}&type=output"
            _check(native, f"/view?{query}", name, data[path])
    assert {output["name"] for output in v2["outputs"]} == set(data)
    for path in data:
        assert client.http.delete("/api/v1/files", params={"path": f"/input/{path}"}).status_code == 204


def _copy(name: str) -> dict[str, Any]:
    """A node that writes an input file out under the name that it has."""
    return node("FakeCopy", file=f"{name} [input]" if name.endswith("]") else name)


def _upload_by_v1(http: httpx2.Client, path: str, data: bytes) -> None:
    answer = http.post("/api/v1/files", params={"path": f"/input/{path}"}, content=data)
    assert (answer.status_code, answer.json()["path"]) == (201, f"/input/{path}")


def _upload_by_v2(http: httpx2.Client, path: str, data: bytes) -> None:
    form = {"file_path": path, "content_type": "text/plain"}
    answer = http.post("/api/v2/assets", data=form, files={"file": ("any", data)})
    assert answer.is_success, answer.text  # 201, and 200 for bytes that an example before has left
    assert answer.json()["file_path"] == path


def _upload(native: httpx2.Client, name: str, data: bytes) -> None:
    """Under a name that is not plain, as some clients write it: `filename*`."""
    boundary = b"----a-boundary"
    disposition = f"form-data; name=\"image\"; filename*=UTF-8''{quote(name, safe='')}"
    head = b"--" + boundary + b"\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n"
    overwrite = b"\r\n--" + boundary + b'\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue'
    body = head + data + overwrite + b"\r\n--" + boundary + b"--\r\n"
    content_type = f"multipart/form-data; boundary={boundary.decode()}"
    answer = native.post("/upload/image", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"name": name, "subfolder": "", "type": "input"}


def _check(http: httpx2.Client, url: str, name: str, data: bytes) -> None:
    """The bytes at a URL, the same headers without them, and the name under which a browser saves them."""
    got, head = http.get(url), http.head(url)

    assert (got.status_code, got.content) == (200, data), (name, got.text)
    assert (head.status_code, head.content) == (200, b"")
    for header in ("content-length", "content-type", "content-disposition", "etag"):
        assert head.headers[header] == got.headers[header]
    disposition = re.sub("^(inline|attachment); ", "", got.headers["content-disposition"])
    if disposition != f'filename="{name}"':  # a plain name is said once
        match = re.fullmatch(r"filename=\"[ -~]*\"; filename\*=UTF-8''(.+)", disposition)
        assert match is not None
        assert match[1] == quote(name, safe="!#$&+-.^_`|~")
