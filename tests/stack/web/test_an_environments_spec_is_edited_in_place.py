"""The spec of an environment is edited as a text, with errors beside it, and pack by pack, by whatever names one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, expect

from comfyward.store import environments
from comfyward.store.db import now_ms
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack
from tests.stack.test_environments_are_locked_over_the_api import archive
from tests.stack.web.conftest import LIMIT_MS, Enter, follow
from tests.stack.web.environments import TOOLING, spec_of, write_node_map


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    node_map = write_node_map(tmp_path_factory.mktemp("map"))
    return start_fake_once(fleet="none", node_map_dir=node_map)


def stored(stack: Stack, name: str) -> str:
    return stack.write(environments.get, name).spec


def test_as_a_text(stack: Stack, enter: Enter) -> None:
    expect.set_options(timeout=LIMIT_MS)
    stack.write(environments.create, "text", spec_of(TOOLING), now_ms())
    page = enter(stack, None)
    page.goto("/environments/text/edit")
    spec = page.get_by_label("What the next revision is made of")
    for written, problem in (
        ('comfyui = "0.3.75"\npacks = []\n', "The spec has no key 'packs'. Did you mean 'pack'?"),
        ('comfyui = "0.3.75"\ncutoff = \n', "The spec is not TOML: Invalid value (at line 2, column 10)."),
        ('comfyui = "9.9.9"\n', "ComfyUI 9.9.9 is not among the releases that can be installed by version."),
    ):
        spec.fill(written)
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#spec-problem")).to_contain_text(problem)
        expect(spec).to_have_value(written)
        expect(spec).to_have_attribute("aria-invalid", "true")
    assert stored(stack, "text") == spec_of(TOOLING)

    spec.fill(spec_of(TOOLING) + '\n[packages]\nmore = ["colorama"]\n')
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/environments/text")
    assert 'more = ["colorama"]' in stored(stack, "text")


def test_what_somebody_else_saved_meanwhile_is_not_overwritten(stack: Stack, enter: Enter) -> None:
    expect.set_options(timeout=LIMIT_MS)
    stack.write(environments.create, "both", spec_of(), now_ms())
    page = enter(stack, None)
    page.goto("/environments/both/edit")
    stack.write(environments.change_spec, "both", spec_of(), spec_of(TOOLING), now_ms())
    spec = page.get_by_label("What the next revision is made of")
    spec.fill(spec_of("cnr:masks@1.0.0"))

    page.get_by_role("button", name="Save").click()

    expect(page.locator("#spec-problem")).to_contain_text("was changed at the same time")
    expect(spec).to_have_value(spec_of("cnr:masks@1.0.0"))
    assert stored(stack, "both") == spec_of(TOOLING)


def test_pack_by_pack(stack: Stack, enter: Enter) -> None:
    expect.set_options(timeout=LIMIT_MS)
    stack.write(environments.create, "packs", spec_of(), now_ms())
    page = enter(stack, None)

    def search(words: str) -> None:
        page.goto("/environments/packs/edit")
        page.get_by_label("Source, name, node or address").fill(words)
        page.get_by_role("button", name="Add or search").click()

    search(TOOLING)
    page.wait_for_url("**/environments/packs")
    expect(page.locator(".pack")).to_contain_text("not locked yet")
    search("git+https://someone:secret@example.com/x@main")
    expect(page.locator("#pack-problem")).to_contain_text("holds a login")
    search("Nobody Has This")
    expect(page.get_by_text("No pack is known that has “Nobody Has This”.")).to_be_visible()
    search("SaveImageAdvanced")
    expect(page.get_by_role("list", name="Packs found")).to_contain_text("it needs ComfyUI >=0.24.1")
    search("fancy nodes")
    expect(page.get_by_role("list", name="Packs found")).to_contain_text("fancy-nodes")
    search("github.com/someone/fancy-nodes.git")
    expect(page.get_by_role("list", name="Packs found")).to_contain_text(
        "git+https://github.com/someone/fancy-nodes@HEAD"
    )
    search("https://127.0.0.1/someone/inside")
    expect(page.get_by_text("No pack is known that has “https://127.0.0.1/someone/inside”.")).to_be_visible()
    search("Fancy Blend")
    page.get_by_role("button", name="Add fancy-nodes").click()
    page.wait_for_url("**/environments/packs")
    assert stored(stack, "packs") == spec_of(TOOLING, "git+https://github.com/someone/fancy-nodes@HEAD")

    follow(page.get_by_role("link", name="Edit", exact=True))
    questions: list[str] = []

    def yes(dialog: Dialog) -> None:
        questions.append(dialog.message)
        dialog.accept()

    page.once("dialog", yes)
    page.get_by_role("button", name="Allow scripts of fancy-nodes").click()
    expect(page.get_by_text("its scripts may run in the editor")).to_be_visible()
    assert "can do in the editor what you can do" in questions[0]
    assert stored(stack, "packs").endswith("web = true\n")
    page.get_by_role("button", name="Forbid scripts of fancy-nodes").click()
    expect(page.get_by_text("its scripts may run in the editor")).to_have_count(0)
    page.get_by_role("button", name="Remove comfyui-tooling-nodes").click()
    page.wait_for_url("**/environments/packs")
    assert stored(stack, "packs") == spec_of("git+https://github.com/someone/fancy-nodes@HEAD")


def test_a_pack_from_an_archive(stack: Stack, enter: Enter, tmp_path: Path) -> None:
    expect.set_options(timeout=LIMIT_MS)
    stack.write(environments.create, "archives", spec_of(), now_ms())
    page = enter(stack, None)
    name, content = archive("mine", "NODE_CLASS_MAPPINGS = {}\n")
    (tmp_path / name).write_bytes(content)
    (tmp_path / "broken.zip").write_bytes(b"no archive")

    page.goto("/environments/archives/edit")
    page.get_by_label("Or a zip archive of a pack's folder").set_input_files(tmp_path / "broken.zip")
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#archive-problem")).to_contain_text("broken.zip is not a zip archive that can be read")
    assert stored(stack, "archives") == spec_of()

    page.get_by_label("Or a zip archive of a pack's folder").set_input_files(tmp_path / name)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/environments/archives")
    expect(page.locator(".pack")).to_contain_text("mine")
    assert re.search(r'source = "folder:mine@[0-9a-f]{64}"', stored(stack, "archives"))
    member = stack.visitor("no-admin").post("/environments/archives/packs/upload", files={"archive": (name, content)})
    assert member.status_code == 403
