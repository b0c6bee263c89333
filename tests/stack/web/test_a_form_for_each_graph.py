"""Somebody who never saw the graph fills in a form: names, ranges, choices, a picture of their own."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tests.stack.graphs import load_and_save, picture
from tests.stack.stack import Stack
from tests.stack.web.conftest import Enter


def test_the_owner_chooses_inputs_and_a_visitor_fills_them_in(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    made = client.http.post("/api/v1/workflows", json={"name": "Poster", "prompt": picture()}).json()["id"]
    page.goto(f"/workflows/{made}")

    page.get_by_role("link", name="Edit form").click()
    page.get_by_label("Show Empty Image: height").uncheck()
    page.get_by_label("Show Empty Image: batch size").check()
    page.get_by_label("Label of Empty Image: width").fill("How wide?")
    page.get_by_role("button", name="Save").click()

    page.get_by_label("How wide?").fill("80")
    page.get_by_label("Empty Image: batch size").fill("2")
    assert page.get_by_label("Empty Image: height").count() == 0
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/runs/*")
    page.locator("figure").nth(1).wait_for()
    newest = client.http.get("/api/v1/runs", params={"limit": 1}).json()[0]
    assert (
        newest["data"]["prompt"]["1"]["inputs"] | {"width": 80, "batch_size": 2}
        == newest["data"]["prompt"]["1"]["inputs"]
    )

    page.get_by_role("link", name="Run with changes").click()
    page.get_by_label("Empty Image: width").fill("96")
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("figcaption", has_text="96 \u00d7 64").first.wait_for()


def test_a_picture_of_ones_own(real: Stack, enter: Enter, account: str, tmp_path: Path) -> None:
    client, page = real.client(account), enter(real, account)
    Image.new("RGB", (50, 30), "red").save(tmp_path / "my photo.png")
    made = client.http.post("/api/v1/workflows", json={"name": "Copy", "prompt": load_and_save("a.png")}).json()["id"]

    page.goto(f"/workflows/{made}")
    page.locator(".drop.small input[type=file]").set_input_files(tmp_path / "my photo.png")
    page.get_by_role("status").get_by_text("my photo.png was uploaded.").wait_for()
    page.get_by_role("button", name="Run", exact=True).click()

    page.locator("figcaption", has_text="50 \u00d7 30").wait_for()


def test_invalid_values_are_explained_and_nothing_typed_is_lost(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    made = client.http.post("/api/v1/workflows", json={"name": "Copy", "prompt": load_and_save("gone.png")}).json()[
        "id"
    ]

    page.goto(f"/workflows/{made}")
    page.get_by_role("button", name="Run", exact=True).click()

    page.locator("#problems", has_text="gone.png was not found. Choose another image for Load Image.").wait_for()
    page.locator("#problems").get_by_role("link", name="Choose an image").click()
    assert page.evaluate("document.querySelector(':target').name") == "value:1.image"
    assert page.url.partition("#")[0].endswith(f"/workflows/{made}")
    assert client.http.get("/api/v1/runs").json() == []
    visitor = real.visitor(account)
    fields = {"has:1.width": "1", "value:1.width": "wide"}
    sized = client.http.post("/api/v1/workflows", json={"name": "Sized", "prompt": picture()}).json()["id"]
    answer = visitor.post(f"/workflows/{sized}/run", data=fields)
    assert answer.status_code == 400
    assert "Empty Image: width" in answer.text
    assert visitor.post(f"/workflows/{sized}/run", data={**fields, "value:1.width": "-5"}).status_code == 400


def test_a_picture_is_pasted(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    made = client.http.post("/api/v1/workflows", json={"name": "Copy", "prompt": load_and_save("a.png")}).json()["id"]
    page.goto(f"/workflows/{made}")

    page.evaluate(
        """async () => {
            const canvas = Object.assign(document.createElement("canvas"), { width: 20, height: 10 });
            const blob = await new Promise((resolve) => canvas.toBlob(resolve));
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([blob], "pasted.png", { type: "image/png" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
        }"""
    )
    page.get_by_role("status").get_by_text("pasted.png was uploaded.").wait_for()
    page.get_by_role("button", name="Run", exact=True).click()

    page.locator("figcaption", has_text="20 \u00d7 10").wait_for()
