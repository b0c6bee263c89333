"""Errors on pages are explained to the reader, with what to do; never in terms of the API."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image

from tests.api_words import api_words_in
from tests.fakes.http import Origin
from tests.stack.graphs import fake_save, load_and_save, node, picture
from tests.stack.stack import Client, Stack
from tests.stack.web.conftest import Enter, follow

MODEL = "v1-5-pruned.safetensors"


def workflow(client: Client, name: str, graph: dict[str, Any]) -> str:
    return str(client.http.post("/api/v1/workflows", json={"name": name, "prompt": graph}).json()["id"])


def test_a_picture_that_cannot_be_read(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    client.http.post("/api/v1/files", params={"path": "/input/bad.png"}, content=b"no picture at all")
    good = io.BytesIO()
    Image.new("RGB", (22, 11), "red").save(good, "PNG")
    client.http.post("/api/v1/files", params={"path": "/input/good.png"}, content=good.getvalue())
    made = workflow(client, "Read", load_and_save("bad.png"))

    page.goto(f"/workflows/{made}")
    page.get_by_role("button", name="Run", exact=True).click()
    problem = page.get_by_label("Error")
    problem.get_by_text("Load Image could not read bad.png. Choose another file.").wait_for()
    problem.get_by_text("Details").click()
    assert "'/input/bad.png'" in problem.inner_text()
    page.get_by_text("ComfyUI log").click()
    page.locator("#log pre", has_text="/input/bad.png").wait_for()
    assert 'File "ComfyUI/nodes.py"' in problem.inner_text()

    # Nowhere does the account see where this host keeps things.
    run = page.url.rpartition("/")[2]
    seen = [page.content(), json.dumps(client.get(run)), json.dumps(list(client.events(run)))]
    seen += [client.http.get(f"/comfy/history/{client.get(run)['prompt_id']}").text]
    for text in seen:
        assert [each for each in (str(real.data_dir), "/workers/", "site-packages/../", "/root/") if each in text] == []

    problem.get_by_role("link", name="Choose another").click()
    page.get_by_label("Load Image: image").select_option("good.png")
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("figcaption", has_text="22 \u00d7 11").wait_for()


def test_a_model_that_is_not_here(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name=MODEL),
        "2": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "3": node("VAEDecode", samples=["2", 0], vae=["1", 2]),
        "4": node("SaveImage", images=["3", 0], filename_prefix="x"),
    }
    made = workflow(client, "Model", graph)

    page.goto(f"/workflows/{made}")
    assert f"{MODEL} was not found." in page.get_by_role("region", name="Missing here").inner_text()
    page.get_by_role("button", name="Run", exact=True).click()
    said = page.locator("#problems .problem")
    said.get_by_text(f"{MODEL} was not found.").wait_for()
    assert said.get_by_role("link").all_inner_texts() == ["Add by URL", "Upload"]
    assert api_words_in(said.inner_text()) == []

    follow(said.get_by_role("link", name="Add by URL"))
    page.get_by_label("URL", exact=True).fill("ftp://models.example/x")
    page.get_by_role("button", name="Import").click()
    page.locator("#problems", has_text="Invalid URL.").wait_for()
    page.get_by_label("URL", exact=True).fill("https://10.0.0.1/x")
    page.get_by_role("button", name="Import").click()
    page.locator("#problems", has_text="Invalid URL.").wait_for()
    assert api_words_in(page.locator("#problems").inner_text()) == []
    zone, data = page.locator("[data-upload-drop] input"), {"name": "x", "mimeType": "", "buffer": b"1"}
    page.get_by_label("Folder", exact=True).fill("/models/../etc")
    zone.set_input_files(data)
    failure = page.locator(".uploads .failure")
    failure.wait_for()
    assert failure.inner_text().startswith("Invalid name or folder.")


def test_a_node_that_fails_and_one_that_is_not_installed(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    failing = {"7": node("TestFails"), "9": node("SaveImage", images=["7", 0], filename_prefix="never")}
    run = client.run(failing)

    page.goto(f"/runs/{run['id']}")
    said = page.get_by_label("Error")
    assert said.locator(".advice").inner_text().startswith("TestFails failed: this node always fails")
    assert said.locator(".advice a").all_inner_texts() == ["Run with changes", "Open in editor"]
    page.goto("/runs")
    assert "TestFails failed: this node always fails" in page.locator(".rows .row .failure").inner_text()

    made = workflow(client, "Strange", {**picture(), "8": node("FaceDetailerUltra")})
    page.goto(f"/workflows/{made}")
    assert "FaceDetailerUltra is not installed." in page.get_by_role("region", name="Missing here").inner_text()
    page.get_by_role("button", name="Run", exact=True).click()
    said = page.locator("#problems .problem")
    said.get_by_text("FaceDetailerUltra is not installed.").wait_for()
    assert said.get_by_role("link").all_inner_texts() == ["Open in editor"]
    assert api_words_in(said.inner_text()) == []


LONG = "x" * 30_000


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/workflows/{workflow}/settings", {"name": LONG}),
        ("/workflows/{workflow}/settings", {"name": " "}),
        ("/workflows/{workflow}/run", {"has:1.width": "1", "value:1.width": "wide"}),
        ("/workflows/{workflow}/run", {"has:1.width": "1", "value:1.width": "-5"}),
        ("/workflows/{workflow}/run", {"accelerator": "TPU"}),
        ("/workflows/{workflow}/form", {"shown": "1.width", "label:1.width": LONG}),
        ("/workflows/new", {"from": "template:../../etc/passwd"}),
        ("/workflows/new", {"from": LONG}),
        ("/workflows/import", {}),
        ("/workflows/{default}/delete", {}),
        ("/workflows/nothing/run", {}),
        ("/explore/nothing/use", {}),
        ("/runs/nothing/again", {}),
        ("/runs/nothing/cancel", {}),
        ("/files/import", {"folder": "../etc", "url": "https://example.com/x"}),
        ("/files/import", {"folder": "loras", "url": "nonsense"}),
        ("/files/import", {"folder": "loras", "url": "https://127.1.2.3/x"}),
        ("/files/import", {"folder": "loras", "url": "data:,x", "name": "a\\b"}),
        ("/files/delete", {"path": "/etc/passwd"}),
        ("/files/delete", {"path": "/input/nothing.png"}),
        ("/files/imports/nothing/again", {}),
        ("/account/keys", {"name": ""}),
        ("/account/keys", {"name": "k", "days": "-1"}),
        ("/account/keys/nothing/revoke", {}),
        ("/account/password", {"old": "", "new": "short"}),
        ("/account/delete", {"name": "somebody"}),
        ("/account/sessions/nothing/end", {}),
        ("/account/webhooks/nothing/resend", {}),
        ("/login", {"name": "nobody", "password": "wrong"}),
        ("/login", {"name": LONG}),
        ("/enter/nothing", {"password": ""}),
        ("/fleet/users", {"name": "x"}),
    ],
)
def test_no_page_speaks_the_apis_language(real: Stack, account: str, path: str, form: dict[str, str]) -> None:
    client, visitor = real.client(account), real.visitor(account)
    default = client.http.get("/api/v1/workflows/default").json()["id"]
    path = path.format(workflow=workflow(client, "Sized", picture()), default=default)

    for headers in ({}, {"HX-Request": "true"}):
        answer = visitor.post(path, data=form, headers=headers)
        assert 400 <= answer.status_code < 500
        problem = answer.text[answer.text.index('class="problem"') :].partition("</div>")[0]
        assert api_words_in(problem) == []
        assert "value:" not in problem
        assert LONG not in answer.text


@pytest.mark.parametrize(
    "path", ["/workflows/nothing", "/runs/nothing", "/runs?since=yesterday", "/runs?before=x", "/login/oidc", "/fleet"]
)
def test_no_address_leads_to_the_apis_language(real: Stack, account: str, path: str) -> None:
    answer = real.visitor(account).get(path)

    assert 400 <= answer.status_code < 500
    assert api_words_in(answer.text.partition("<main")[2].partition("</main>")[0]) == []


def test_a_file_that_cannot_be_fetched(shared: Stack, enter: Enter, account: str, site: Origin) -> None:
    client = shared.client(account)
    run = client.run(fake_save(), files={"/models/loras/a.safetensors": f"{site.url}/nothing.safetensors"})

    page = enter(shared, account)
    page.goto(f"/runs/{run['id']}")

    said = page.get_by_label("Error").locator(".advice")
    assert said.inner_text().startswith("a.safetensors could not be downloaded: '127.0.0.1' answered 404")
    assert api_words_in(said.inner_text()) == []
