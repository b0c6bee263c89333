"""A picture that ComfyUI saved carries its workflow: dropped on the page, it becomes one that runs."""

import json
from pathlib import Path

import pytest

from comfyward.workflows.starters import colours_graph
from tests.stack.graphs import node, picture
from tests.stack.stack import Stack
from tests.stack.web.conftest import Enter


def test_a_png_becomes_a_workflow_with_a_form_that_runs(
    real: Stack, enter: Enter, account: str, tmp_path: Path
) -> None:
    client, page = real.client(account), enter(real, account)
    run = client.run(picture(0x123456, size=40), extra_data={"extra_pnginfo": {"workflow": {"nodes": [], "links": []}}})
    saved = tmp_path / "my_poster.png"
    saved.write_bytes(client.http.get(run["output"][0]["url"]).content)

    page.locator("form[data-import] input[type=file]").set_input_files(saved)

    page.wait_for_url("**/workflows/*")
    assert page.get_by_role("heading", name="my poster").is_visible()
    page.get_by_label("Empty Image: width").fill("48")
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/runs/*")
    page.locator("figcaption", has_text="48 \u00d7 40").wait_for()


def test_videos_and_moving_pictures_carry_one_too(real: Stack, account: str) -> None:
    client, visitor = real.client(account), real.visitor(account)
    frames = {"1": node("EmptyImage", width=64, height=64, batch_size=3, color=0x00FF00)}
    how = {"filename_prefix": "moving", "fps": 6.0, "lossless": True, "quality": 80, "method": "default"}
    webp = {**frames, "2": node("SaveAnimatedWEBP", images=["1", 0], **how)}

    for graph, suffix in ((colours_graph(), "mp4"), (webp, "webp")):
        run = client.run(graph)
        [output] = [each for each in run["output"] if each["filename"].endswith(suffix)]
        data = client.http.get(output["url"]).content
        answer = visitor.post("/workflows/import", files={"file": (f"a.{suffix}", data)})
        made = visitor.get(f"/api/v1{answer.headers['location']}").json()
        assert made["prompt"] == graph


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.json", b"{", "It is not JSON that can be read"),
        ("a.json", b"{}", "does not contain a ComfyUI workflow"),
        ("a.png", b"not a picture", "does not contain a ComfyUI workflow"),
        ("a.mp4", b"\0\0\0\x18ftypmp42", "does not contain a ComfyUI workflow"),
    ],
)
def test_a_file_without_a_workflow_is_refused_with_a_hint(
    real: Stack, account: str, name: str, data: bytes, says: str
) -> None:
    visitor = real.visitor(account)

    answer = visitor.post("/workflows/import", files={"file": (name, data)})

    assert answer.status_code == 400
    assert says in answer.text
    listed = [each["id"] for each in visitor.get("/api/v1/workflows").json()]
    assert listed == [visitor.get("/api/v1/workflows/default").json()["id"]]


def test_json_in_both_forms_and_as_a_saved_request(real: Stack, account: str) -> None:
    visitor = real.visitor(account)

    for content, has_graph in (
        (picture(), True),
        ({"prompt": picture(), "accelerator": "L4"}, True),
        ({"nodes": [], "links": [], "version": 0.4}, False),
    ):
        answer = visitor.post("/workflows/import", files={"file": ("flow.json", json.dumps(content).encode())})
        made = visitor.get(f"/api/v1{answer.headers['location']}").json()
        assert (made["name"], made["prompt"] is not None) == ("flow", has_graph)
