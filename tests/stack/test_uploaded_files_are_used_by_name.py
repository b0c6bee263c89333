"""POST /files, then just name the file in a graph; data: URLs and outputs of other runs work too."""

import base64
import io

import pytest
from PIL import Image

from tests.stack.graphs import load_and_save, picture
from tests.stack.stack import Client, Stack

pytestmark = pytest.mark.engine


def test_uploaded_files_are_used_by_name(real: Stack) -> None:
    client = real.client("uploader")
    png = _png()
    uploads = [
        client.http.post("/api/v1/files", params={"path": "/input/raw.png"}, content=png),
        client.http.post("/api/v1/files", files={"file": ("form.png", png)}, data={"path": "/input/sub/form.png"}),
    ]
    known = {"path": "/input/known.png", "digest": uploads[0].json()["digest"]}
    uploads.append(client.http.post("/api/v1/files", json=known))

    assert [upload.status_code for upload in uploads] == [201] * 3, [upload.text for upload in uploads]
    for name in ("raw.png", "sub/form.png", "known.png"):
        run = client.run(load_and_save(name))
        assert run["status"] == "COMPLETED", run["error"]
        assert client.http.get(run["files"][f"/input/{name}"]).content == png
    viewed = client.http.get("/api/v1/view/workflows/default/input/raw.png")
    assert viewed.content == png

    digest = uploads[0].json()["digest"].removeprefix("blake3:")
    assert client.http.head(f"/api/v1/files/{digest}").status_code == 200
    assert client.http.delete("/api/v1/files", params={"path": "/input/raw.png"}).status_code == 204
    assert client.post_run({"prompt": load_and_save("raw.png")}).status_code == 400


def test_a_data_url_is_enough_for_a_small_input(client: Client) -> None:
    url = "data:image/png;base64," + base64.b64encode(_png()).decode()

    run = client.run(load_and_save("small.png"), files={"/input/small.png": url})

    assert run["status"] == "COMPLETED", run["error"]


@pytest.mark.several_servers
def test_an_output_of_one_run_is_the_input_of_the_next(client: Client) -> None:
    first = client.run(picture())

    second = client.run(load_and_save("from-first.png"), files={"/input/from-first.png": first["output"][0]["url"]})

    assert second["status"] == "COMPLETED", second["error"]


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "green").save(buffer, "PNG")
    return buffer.getvalue()
