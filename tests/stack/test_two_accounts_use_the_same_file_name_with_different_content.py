"""Both accounts call their picture image1.jpg; each gets its own, and neither sees the other's."""

import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from tests import loopback
from tests.fakes.http import Origin
from tests.stack.graphs import load_and_save
from tests.stack.stack import Client, Stack

pytestmark = pytest.mark.engine


def test_two_accounts_use_the_same_file_name_with_different_content(real: Stack, site: Origin) -> None:
    red, blue = site.put("/red.png", _png("red")), site.put("/blue.png", _png("blue"))
    alice, bob = real.client("alice"), real.client("bob")

    with ThreadPoolExecutor(8) as pool:  # interleaved, so that they meet in the worker's stages
        runs = list(pool.map(lambda job: _pixel(*job), [(alice, red), (bob, blue)] * 4))

    assert runs == [(255, 0, 0), (0, 0, 255)] * 4


def test_another_accounts_runs_files_and_links_do_not_exist(real: Stack) -> None:
    alice, bob = real.client("alice"), real.client("bob")
    alice.http.post("/api/v1/files", params={"path": "/input/secret.png"}, content=_png("red"))
    run = alice.run(load_and_save("secret.png"))
    assert run["status"] == "COMPLETED", run["error"]
    base = f"/api/v1/workflows/{run['workflow_id']}"

    assert bob.http.get("/api/v1/files").json() == []
    for method, path in [
        ("GET", f"/api/v1/runs/{run['id']}"),
        ("GET", f"{base}/runs/{run['id']}"),
        ("GET", f"{base}/runs/{run['id']}/log"),
        ("GET", f"{base}/runs"),
        ("GET", base),
        ("PATCH", base),
        ("DELETE", base),
        ("POST", f"{base}/runs/{run['id']}/cancel"),
        ("POST", f"{base}/runs/{run['id']}/retry"),
        ("DELETE", f"{base}/runs/{run['id']}"),
        ("GET", f"/api/v1/view/workflows/{run['workflow_id']}/input/secret.png"),
        ("GET", f"/api/v1/view{run['output'][0]['filename']}"),
    ]:
        answer = bob.http.request(method, path, content=b"{}")
        assert answer.status_code == 404, (method, path, answer.text)
        assert answer.json()["code"] == "not_found"

    unknown = bob.post_run({"prompt": load_and_save("secret.png")})
    assert unknown.status_code == 400
    unsigned = loopback.get(f"{real.url}/api/v1/view{run['output'][0]['filename']}")
    assert unsigned.status_code == 401


def _pixel(client: Client, url: str) -> tuple[int, ...]:
    run = client.run(load_and_save("image1.jpg"), files={"/input/image1.jpg": url})
    assert run["status"] == "COMPLETED", run["error"]
    picture = Image.open(io.BytesIO(loopback.get(run["output"][0]["url"]).content))
    return tuple(picture.convert("RGB").getpixel((0, 0)))


def _png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(buffer, "PNG")
    return buffer.getvalue()
