"""Makes docs/screenshots/: every page of the website, light and dark, on a desktop and on a phone.

`.venv/bin/python scripts/screenshots.py [PAGE …]` starts a server with the real ComfyUI, fills it with some work, and
looks at it with Chromium. Needs what the tests need.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from studio_environments import studio  # noqa: E402

from comfyward.comfy.releases import DEFAULT  # noqa: E402
from comfyward.server_settings import default_data_dir  # noqa: E402
from comfyward.workflows.starters import colours_graph  # noqa: E402
from tests.stack.browser import BROWSER, FLAGS  # noqa: E402
from tests.stack.graphs import node  # noqa: E402
from tests.stack.stack import Client, Stack  # noqa: E402

TARGET = ROOT / "docs" / "screenshots"
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
TALLEST = 2400
MODELS = (  # folder, name, bytes
    ("checkpoints", "portraits-xl.safetensors", 9_000_000),
    ("loras", "watercolor.safetensors", 90_000),
    ("vae", "clear-colours.safetensors", 400_000),
)


def main(wanted: list[str]) -> None:
    def of(paths: dict[str, str]) -> dict[str, str]:
        return {name: path for name, path in paths.items() if not wanted or name in wanted}

    with tempfile.TemporaryDirectory(prefix="cw-screens-") as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        with studio(Path(folder) / "environments") as (stack, admins, members):
            shoot_pages(browser, stack, of(admins))
            shoot_pages(browser, stack, of(members), "mira")
        if not wanted or not set(wanted) <= {*admins, *members}:
            with server(Path(folder)) as stack:
                shoot_pages(browser, stack, of(fill(stack.client())))
        browser.close()


def shoot_pages(browser: Browser, stack: Stack, shots: dict[str, str], account: str | None = None) -> None:
    """Pictures of pages as an account sees them, of each size and scheme."""
    state = log_in(browser, stack, account) if shots else None
    for scheme in ("light", "dark"):
        for size, (width, height) in SIZES.items():
            viewport = {"width": width, "height": height}
            look = {"viewport": viewport, "color_scheme": scheme, "base_url": stack.url}
            shoot_all(browser, look, state, shots, f"{size}-{scheme}")


@contextmanager
def server(data_dir: Path) -> Iterator[Stack]:
    environments = os.environ.get("COMFYWARD_ENVIRONMENTS_DIR", str(default_data_dir() / "environments"))
    settings = {
        "environments_dir": environments,
        "custom_nodes_dir": str(ROOT / "tests" / "nodes"),
        "comfyui_version": DEFAULT.version,
        "accelerators": "L4,A100_40GB",
        "fetch_allow": "127.0.0.1",
    }
    stack = Stack(data_dir, settings)
    try:
        yield stack.start().wait_ready()
    finally:
        stack.close()


def fill(client: Client) -> dict[str, str]:
    """Some work of a small studio; returns the address of each page."""

    def workflow(name: str, graph: dict[str, Any], **more: Any) -> str:
        made = client.http.post("/api/v1/workflows", json={"name": name, "prompt": graph, **more})
        return str(made.json()["id"])

    picture = Image.radial_gradient("L").resize((640, 400))
    picture = Image.merge("RGB", (picture, picture.rotate(90), picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    data = io.BytesIO()
    picture.save(data, "PNG")
    client.http.post("/api/v1/files", params={"path": "/input/sunset.png"}, content=data.getvalue())
    for folder, name, size in MODELS:
        client.http.post("/api/v1/files", params={"path": f"/models/{folder}/{name}"}, content=safetensors(size))
    client.http.put("/api/v1/secrets/HF_TOKEN", json={"value": "hf_nobodys"})
    pin = client.http.post(
        "/api/v1/model-pins", json={"model": "checkpoints/portraits-xl.safetensors", "accelerator": "CPU"}
    )
    assert pin.status_code < 300, pin.text

    clip = workflow(
        "Colour clip",
        colours_graph(),
        description="A still and a short video from six colours.",
        tags=["video", "no model"],
        visibility="PUBLIC",
    )
    sharp = {
        "load": {**node("LoadImage", image="sunset.png"), "_meta": {"title": "Your picture"}},
        "scale": node("ImageScaleBy", image=["load", 0], upscale_method="lanczos", scale_by=2.0),
        "sharpen": node("ImageSharpen", image=["scale", 0], sharpen_radius=1, sigma=1.0, alpha=1.0),
        "save": node("SaveImage", images=["sharpen", 0], filename_prefix="sharp"),
    }
    larger = workflow("Larger and sharper", sharp, tags=["photo"], visibility="PUBLIC")
    invert = {
        "load": node("LoadImage", image="sunset.png"),
        "invert": node("ImageInvert", image=["load", 0]),
        "save": node("SaveImage", images=["invert", 0], filename_prefix="negative"),
    }
    negative = workflow("Negative", invert, tags=["photo"], accelerator="CPU")
    workflow("Poster draft", sharp, tags=["photo", "print"], accelerator="L4")
    failing = {"bad": node("TestFails"), "save": node("SaveImage", images=["bad", 0], filename_prefix="x")}

    done = {}
    for name, where, graph in (
        ("clip", clip, colours_graph()),
        ("sharp", larger, sharp),
        ("negative", negative, invert),
        ("failed", negative, failing),
    ):
        answer = client.post_run({"prompt": graph, "webhook": "http://127.0.0.1:9/hook", "accelerator": "CPU"}, where)
        assert answer.status_code == 200, answer.text
        done[name] = client.finish(answer.json()["id"])["id"]
    waiting = client.post_run({"prompt": sharp, "accelerator": "L4"}, larger).json()["id"]
    slow = {**failing, "bad": node("TestSteps", steps=100_000)}
    running = client.post_run({"prompt": slow, "accelerator": "CPU"}, larger).json()["id"]
    client.wait_for(running, "progress")
    return {
        "login": "/login",
        "workflows": "/workflows",
        "new": "/workflows/new",
        "workflow": f"/workflows/{larger}",
        "workflow-settings": f"/workflows/{larger}/settings",
        "form-inputs": f"/workflows/{larger}/form",
        "editor": f"/workflows/{clip}/edit",
        "explore": "/explore",
        "public": f"/explore/{clip}",
        "runs": "/runs",
        "run": f"/runs/{done['clip']}",
        "run-failed": f"/runs/{done['failed']}",
        "run-waiting": f"/runs/{waiting}",
        "run-live": f"/runs/{running}",
        "run-changes": f"/runs/{done['sharp']}/change",
        "api-code": f"/runs/{done['sharp']}/api?vary=scale.scale_by&language=requests",
        "models": "/models",
        "files": "/files",
        "account-secrets": "/account/secrets",
        "account-keys": "/account",
        "account-webhooks": "/account/webhooks",
        "account-usage": "/account/usage",
        "account-security": "/account/security",
        "account-data": "/account/data",
        "fleet": "/fleet",
        "fleet-memory": "/fleet/memory",
        "fleet-users": "/fleet/users",
        "not-found": "/runs/nothing",
    }


def safetensors(size: int) -> bytes:
    """A file of a model with one tensor of zeros."""
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


def log_in(browser: Browser, stack: Stack, account: str | None) -> Any:
    context = browser.new_context(base_url=stack.url)
    page = context.new_page()
    page.goto(stack.login_link(account))
    page.get_by_label("Choose a password").fill("a password for the pictures")
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/workflows")
    state = context.storage_state()
    context.close()
    return state


def shoot_all(browser: Browser, look: dict[str, Any], state: Any, shots: dict[str, str], suffix: str) -> None:
    inside, outside = browser.new_context(storage_state=state, **look), browser.new_context(**look)
    for name, path in shots.items():
        page = (outside if name == "login" else inside).new_page()
        page.goto(path)
        shoot(page, f"{name}-{suffix}", is_editor=path.startswith("/workflows/") and path.endswith("/edit"))
        page.close()
    inside.close()
    outside.close()


def shoot(page: Page, name: str, *, is_editor: bool) -> None:
    if is_editor:
        page.wait_for_selector("body[data-loaded]", timeout=90_000)
        time.sleep(2)  # its canvas tells nobody when it has drawn
    else:
        if page.locator("#templates").count():
            page.locator("#templates form").first.wait_for()
        time.sleep(0.5)  # pictures and plots come after the page
    shown = page.screenshot(full_page=not is_editor)
    with Image.open(io.BytesIO(shown)) as picture:
        picture.crop((0, 0, picture.width, min(TALLEST, picture.height))).save(TARGET / f"{name}.webp", quality=80)


if __name__ == "__main__":
    TARGET.mkdir(parents=True, exist_ok=True)
    main(sys.argv[1:])
