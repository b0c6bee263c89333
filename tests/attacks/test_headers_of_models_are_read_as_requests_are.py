"""JSON in files that accounts upload is a stranger's as well: its values are counted, and depth is no server error."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from tests.stack.stack import Client

DEEP = "[" * 200_000 + "]" * 200_000
MANY = f"[{'[],' * 600_000}[]]"


def model(header: str) -> bytes:
    """A safetensors file without tensors."""
    return len(header).to_bytes(8, "little") + header.encode()


def stored(client: Client, header: str) -> None:
    path = {"path": "/models/loras/hostile.safetensors"}
    assert client.http.post("/api/v1/files", params=path, content=model(header)).status_code == 201


def metadata(client: Client) -> tuple[int, bytes]:
    answer = client.http.get("/comfy/view_metadata/loras", params={"filename": "hostile.safetensors"})
    return answer.status_code, answer.content


def test_a_header_is_shown(tenant: Client) -> None:
    stored(tenant, json.dumps({"__metadata__": {"author": "ada"}}))

    assert metadata(tenant) == (200, b'{"author":"ada"}')


@pytest.mark.parametrize("header", [DEEP, f'{{"__metadata__":{{"a":{DEEP}}}}}'], ids=["deep", "deep inside"])
def test_a_deep_header_is_none(tenant: Client, header: str) -> None:
    stored(tenant, header)

    assert metadata(tenant) == (404, b"")


@pytest.mark.parametrize("pictures", [DEEP, MANY, {"0": "x"}, [[[]]]], ids=["deep", "many", "object", "lists"])
def test_hostile_pictures_in_a_header_are_none(tenant: Client, pictures: object) -> None:
    stored(tenant, json.dumps({"__metadata__": {"ssmd_cover_images": pictures}}))

    assert tenant.http.get("/comfy/experiment/models/preview/loras/0/hostile.safetensors").status_code == 404


def test_values_are_counted(tenant: Client) -> None:
    stored(tenant, f'{{"__metadata__":{{"author":"ada"}},"x":{MANY}}}')

    assert metadata(tenant) == (404, b"")


def test_the_reference_of_a_mask_is_too(tenant: Client) -> None:
    picture = io.BytesIO()
    Image.new("RGBA", (8, 8)).save(picture, "PNG")
    files = {"image": ("mask.png", picture.getvalue())}

    answer = tenant.http.post("/comfy/upload/mask", files=files, data={"original_ref": DEEP})

    assert answer.status_code == 400
