"""Names that lead elsewhere, are no names, or look like another one: at the doors that take files beside plain uploads.

What is refused leaves nothing; two names that only look alike are two files, in every account's own folder.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from urllib.parse import quote

import blake3
import httpx2
import pytest

from tests.stack.graphs import node
from tests.stack.stack import Client, Stack

pytestmark = pytest.mark.several_servers

NO_NAMES = ["a\0b", "..", "../up", "a/../../b", "a//b", "./a", "x" * 256, "é" * 128, "/abs", "a/", "a/."]
TWINS = [
    "é.txt",
    "e\u0301.txt",
    "Name.txt",
    "name.txt",
    "name.txt.",
    "name.txt ",
    "C:\\name.txt",
    "CON",
    "name.txt\u200b",
]
Door = Callable[[Client, str, bytes], httpx2.Response]


def in_pieces(client: Client, name: str, data: bytes) -> httpx2.Response:
    path = base64.b64encode(f"/input/{name}".encode()).decode()
    headers = {"Upload-Length": str(len(data)), "Upload-Metadata": f"path {path}"}
    begun = client.http.post("/api/v1/uploads", headers=headers)
    if begun.status_code != 201:
        return begun
    location = begun.headers["location"]
    of_piece = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    return client.http.patch(location[location.index("/api/") :], content=data, headers=of_piece)


def of_the_editor(client: Client, name: str, data: bytes) -> httpx2.Response:
    return client.http.post(f"/comfy/userdata/{quote(name, safe='')}", content=data)


def of_a_plugin(client: Client, name: str, data: bytes) -> httpx2.Response:
    return client.http.put(f"/comfy/etn/upload/loras/{quote(name, safe='')}", content=data)


def in_a_run(client: Client, name: str, data: bytes) -> httpx2.Response:
    url = f"data:;base64,{base64.b64encode(data).decode()}"
    graph = {"1": node("FakeSave", text="named")}
    return client.post_run({"prompt": graph, "files": {f"/input/{name}": url}})


def by_an_import(client: Client, name: str, data: bytes) -> httpx2.Response:
    return client.http.post("/api/v1/imports", json={"path": f"/input/{name}", "url": "http://127.0.0.1:9/file"})


STORING: list[Door] = [in_pieces, of_the_editor, of_a_plugin]


def files(client: Client) -> dict[str, str]:
    """The digests of an account's files by path."""
    return {file["path"]: file["digest"].removeprefix("blake3:") for file in client.http.get("/api/v1/files").json()}


@pytest.mark.parametrize("door", [*STORING, in_a_run, by_an_import])
def test_what_is_no_name_leaves_nothing(tenant: Client, door: Door) -> None:
    for name in NO_NAMES:
        assert 300 <= door(tenant, name, b"nowhere").status_code < 500, name  # 307: an address that ends with a slash

    assert files(tenant) == {}
    assert tenant.http.get("/api/v1/runs").json() == []
    assert tenant.http.get("/api/v1/imports").json() == []


@pytest.mark.parametrize("door", STORING)
def test_names_that_look_alike_are_different_files(tenant: Client, shared: Stack, door: Door) -> None:
    other = shared.client(f"looks-alike-{door.__name__}")
    for name in TWINS:
        for client in (tenant, other):
            suffix = ".safetensors" if door is of_a_plugin else ""
            stored = door(client, name + suffix, f"{name} of {client.key}".encode())
            assert stored.status_code < 300, (name, stored.text)

    for client in (tenant, other):
        mine = {blake3.blake3(f"{name} of {client.key}".encode()).hexdigest(): name for name in TWINS}
        found = files(client) or _of_the_editor(client)
        assert sorted(mine[digest] for digest in found.values()) == sorted(TWINS)
        assert len(found) == len(TWINS)


def _of_the_editor(client: Client) -> dict[str, str]:
    """The same of the editor's own files, which no list of inputs has."""
    read = {name: client.http.get(f"/comfy/userdata/{quote(name, safe='')}") for name in TWINS}
    return {name: blake3.blake3(answer.content).hexdigest() for name, answer in read.items() if answer.is_success}
