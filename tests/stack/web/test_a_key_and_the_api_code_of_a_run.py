"""Going to production: a key from the account's page, the code of a run copied from its page, and run as it stands."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.stack.graphs import load_and_save, picture
from tests.stack.stack import Stack
from tests.stack.waiting import until
from tests.stack.web.conftest import Enter, follow

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


def make_key(page: Page) -> str:
    page.goto("/account")
    page.get_by_label("Name").fill("production")
    page.get_by_role("button", name="Create key").click()
    key = page.locator("#new-key").inner_text()
    page.reload()
    return key


def copied(page: Page) -> str:
    page.evaluate("navigator.clipboard.writeText('')")
    page.get_by_role("button", name="Copy").click()
    return until(bool, lambda: str(page.evaluate("navigator.clipboard.readText()")))


def run(command: list[str], key: str, folder: Path, **environment: str) -> str:
    settings = {**os.environ, "COMFYWARD_API_KEY": key, **environment}
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_copied_code_runs_and_its_run_appears_without_a_reload(
    real: Stack, enter: Enter, account: str, tmp_path: Path
) -> None:
    client, page = real.client(account), enter(real, account)
    workflow = client.http.post("/api/v1/workflows", json={"name": "Shop", "prompt": picture()}).json()["id"]
    first = client.finish(
        client.post_run({"prompt": picture(0x00AAFF, 'it\'s "$HOME" `here` \\')}, workflow).json()["id"]
    )
    assert first["status"] == "COMPLETED"
    key = make_key(page)

    page.goto(f"/runs/{first['id']}")
    follow(page.get_by_role("link", name="View API code"))
    text = copied(page)
    list_page = page.context.new_page()
    list_page.goto(f"/workflows/{workflow}")
    list_page.locator(".rows .row").first.wait_for()
    out = run(["bash", "-c", text], key, tmp_path)

    assert '"status":"COMPLETED"' in out
    list_page.locator(".rows .row").nth(1).wait_for()
    list_page.locator(".rows .row").first.locator("img").wait_for()
    assert client.http.get("/api/v1/runs", params={"limit": 1}).json()[0]["data"]["prompt"] == first["data"]["prompt"]


def test_each_language_makes_the_run_with_other_values(
    real: Stack, enter: Enter, account: str, tmp_path: Path, python_clients: Path
) -> None:
    client, page = real.client(account), enter(real, account)
    first = client.run(
        load_and_save("small.png"),
        files={"/input/small.png": "data:image/png;base64," + base64.b64encode(PNG).decode()},
    )
    assert first["status"] == "COMPLETED", first
    key, own_python = make_key(page), sys.executable
    page.goto(f"/runs/{first['id']}/api")
    page.get_by_text("Inputs as variables").click()
    page.get_by_label("Save Image: filename prefix").check()

    for language, shown, suffix, command in (
        ("curl", "curl", "sh", ["bash"]),
        ("JavaScript", "javascript", "mjs", ["node"]),
        ("Python: requests", "requests", "py", [str(python_clients)]),
        ("Python: comfyward", "client", "py", [own_python]),
        ("Python: comfy-sdk", "sdk", "py", [str(python_clients)]),
    ):
        page.get_by_label(language, exact=True).check()
        before, after = ("'\"copy\"'", f"'\"{shown}\"'") if shown == "curl" else ('"copy"', f'"{shown}"')
        program_text = page.locator(f"[data-language={shown}]")
        expect(program_text).to_contain_text(before)  # once the page has heard which inputs change
        text = program_text.inner_text()
        assert text.count(before) == 1, text
        program = tmp_path / f"program.{suffix}"
        program.write_text(text.replace(before, after))
        run([*command, str(program)], key, tmp_path)
        newest = client.http.get("/api/v1/runs", params={"limit": 1}).json()[0]
        assert newest["status"] == "COMPLETED"
        assert newest["output"][0]["filename"].rpartition("/")[2] == f"{shown}_00001_.png"


@pytest.mark.parametrize("path", ["/runs/{run}", "/runs/{run}/api", "/account"])
def test_no_page_holds_a_secret(real: Stack, account: str, path: str) -> None:
    client, visitor = real.client(account), real.visitor(account)
    headers = {"Authorization": "Bearer of-a-mirror"}
    files = {"/input/a.png": {"url": "https://example.com/a.png", "headers": headers}}
    run_id = client.submit(load_and_save("a.png"), files=files)

    text = visitor.get(path.format(run=run_id)).text

    assert "of-a-mirror" not in text
    assert client.key not in text
    client.cancel(run_id)
