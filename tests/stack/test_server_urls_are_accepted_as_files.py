"""The URL of an output, input or asset brings its file into a run, however it is written; HEAD answers on each."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import pytest

from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, node
from tests.stack.stack import Client, Stack

NAME = "50% é #1?a=b & \u202f\u3000.d"


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(max_attempts="1").wait_ready()


def test_the_url_of_a_file_of_ours_is_a_value_of_files(stack: Stack, subtests: pytest.Subtests) -> None:
    client = stack.client()
    first = client.run({"1": node("FakeSave", text="the bytes", prefix=NAME)})
    assert first["status"] == "COMPLETED", first["error"]
    [output] = first["output"]
    [asset] = client.http.get(f"/api/v2/jobs/{first['prompt_id']}").json()["outputs"]
    path = output["url"].removeprefix(stack.url)
    native = f"{stack.url}/comfy/view?filename={quote(asset['name'], safe='')}"
    brought = client.run(fake_save("a"), files={"/input/a": output["url"]})
    urls = {
        "as given": output["url"],
        "of the same server by another spelling": output["url"].replace("http://", "HTTP://"),
        "without a signature": output["url"].partition("?")[0],
        "without the host": path,
        "not escaped": unquote(output["url"].partition("?")[0])
        .replace("%", "%25")
        .replace("#", "%23")
        .replace("?", "%3F"),
        "as an object": {"url": path},
        "of v2": asset["url"],
        "of v2 without a signature": asset["url"].partition("?")[0],
        "of ComfyUI's own API": native,
        "of ComfyUI's own API with the run": f"{native}&subfolder={first['id']}&type=output",
        "of a workflow's own API": native.replace("/comfy/", f"/workflows/{first['workflow_id']}/comfy/api/"),
        "of a file that came with a run": brought["files"]["/input/a"],
    }
    for how, url in urls.items():
        with subtests.test(how):
            assert _text_of(client, client.run(fake_save("in"), files={"/input/in": url})) == "the bytes"
            if isinstance(url, str) and url.startswith("http"):
                got, head = client.http.get(url), client.http.head(url)
                assert (head.status_code, head.content) == (200, b"")
                assert head.headers["content-length"] == str(len(got.content)) == "9"


def test_another_accounts_file_needs_its_signature(stack: Stack) -> None:
    first = stack.client().run({"1": node("FakeSave", text="the bytes", prefix=NAME)})
    other, url = stack.client("other"), first["output"][0]["url"]

    run = other.run(fake_save("in"), files={"/input/in": url})
    refused = other.post_run({"prompt": fake_save("in"), "files": {"/input/in": url.partition("?")[0]}})
    forged = other.post_run({"prompt": fake_save("in"), "files": {"/input/in": f"{url[:-1]}x"}})

    assert _text_of(other, run) == "the bytes"
    assert (refused.status_code, forged.status_code) == (404, 404)


@pytest.mark.parametrize("url", ["/etc/passwd", "/api/v1/me", "/api/v1/view/../../etc", "//host/x"])
def test_a_path_that_shows_no_file_is_refused(stack: Stack, url: str) -> None:
    answer = stack.client().post_run({"prompt": fake_save(), "files": {"/input/in": url}})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_url")


def test_head_answers_wherever_get_does(stack: Stack, subtests: pytest.Subtests) -> None:
    client, visitor = stack.client(), stack.visitor()
    run = client.run(fake_save())
    place = f"/api/v1/workflows/{run['workflow_id']}/runs/{run['id']}"
    of_api = ["", "/events", "/log", "/placement"]
    paths = [*(place + end for end in of_api), "/api/v1/files", "/api/v1/me", "/api/v1/nodes", "/api/v1/workflows"]
    paths += ["/healthz", "/readyz", "/docs", "/openapi.json", "/metrics", "/comfy/object_info", "/comfy/queue"]
    paths += [f"/api/v2/jobs/{run['prompt_id']}", f"/api/v2/jobs/{run['prompt_id']}/events"]
    for path in paths:
        with subtests.test(path):
            head = client.http.head(path)
            assert (head.status_code, head.content) == (200, b"")
    for path in (f"/runs/{run['id']}", f"/runs/{run['id']}/outputs.zip", "/account/export.zip", "/live"):
        with subtests.test(path):
            head = visitor.head(path)
            assert (head.status_code, head.content) == (200, b"")


def test_downloads_name_their_file(stack: Stack) -> None:
    run, visitor = stack.client().run(fake_save()), stack.visitor()

    zipped = visitor.get(f"/runs/{run['id']}/outputs.zip")
    everything = visitor.get("/account/export.zip")

    named = f'attachment; filename="{run["id"]}.zip"'
    assert zipped.headers["content-disposition"] == named
    assert everything.headers["content-disposition"].startswith('attachment; filename="comfyward-')


def _text_of(client: Client, run: dict[str, Any]) -> str:
    assert run["status"] == "COMPLETED", run["error"]
    return client.http.get(run["output"][0]["url"]).text
