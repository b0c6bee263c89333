"""Forms of many parts, of large fields, and of names and headers without end: refused in words, whoever receives them.

What is not a file is in the server's memory, so it has a bound of its own, and another account is answered meanwhile.
"""

from __future__ import annotations

import pytest

from tests.stack.stack import Client, Stack

pytestmark = pytest.mark.several_servers

DOORS = ["/api/v1/files", "/api/v2/assets", "/comfy/upload/image", "/comfy/upload/mask", "/comfy/api/assets"]
FILE = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a.png"\r\n\r\nbytes\r\n'
AROUND_BYTES = 1 << 20


def field(name: bytes, value: bytes) -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name, value)


def form(door: str, *parts: bytes) -> bytes:
    """A form with a file that the door would take, were there nothing else in it."""
    file = FILE % (b"image" if "upload" in door else b"file")
    of_assets = field(b"file_path", b"a.png") + field(b"content_type", b"image/png") + field(b"tags", b"input")
    return file + (of_assets if "assets" in door else b"") + b"".join(parts) + b"--x--\r\n"


FLOODS = {
    "many parts": [field(b"", b"")] * 2000,
    "large fields": [*[field(b"a", b"v" * (AROUND_BYTES // 2))] * 2, field(b"b", b"one more")],
    "a huge name": [field(b"n" * 100_000, b"")],
    "a huge header": [b"--x\r\nX-Endless: " + b"h" * 100_000 + b"\r\n\r\n\r\n"],
    "many headers": [b"--x\r\n" + b"X: y\r\n" * 2000 + b"\r\n\r\n"],
    "many files": [FILE % b"again"] * 1000,
}


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("door", DOORS)
def test_a_flood_of_parts_is_refused(shared: Stack, tenant: Client, door: str, flood: str) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}

    refused = tenant.http.post(door, content=form(door, *FLOODS[flood]), headers=headers)

    assert refused.status_code == (422 if "/v2/" in door else 400), refused.text
    assert "The form cannot be read" in refused.text
    assert tenant.http.get("/api/v1/files").json() == []
    assert shared.client("beside floods of forms").http.get("/api/v1/me").status_code == 200
