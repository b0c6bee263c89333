"""The pages of environments in all of their states, on a phone and on a desktop: building, failed, ready, asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.environment_lab import Lab, report
from tests.stack.conftest import StartFake
from tests.stack.graphs import node
from tests.stack.stack import Stack
from tests.stack.web.accessibility import LOOK, SCREENS, axe_in, findings, serious
from tests.stack.web.conftest import Enter
from tests.stack.web.environments import COLORAMA, MASKS, TOOLING, imported, locked, spec_of, write_node_map

LONG = "masks did not import: OSError: [Errno 30] Read-only file system: '/data/" + "long" * 30 + "' (line 23)"


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    node_map = write_node_map(tmp_path_factory.mktemp("map"))
    return start_fake_once(fleet="none", node_map_dir=node_map)


@pytest.fixture(scope="module")
def paths(stack: Stack) -> dict[str | None, list[str]]:
    """The addresses by account."""
    lab, packs = Lab(stack), (locked(TOOLING), locked(MASKS, install_script="0" * 64))
    digests = [
        lab.revision(str(number), spec=spec_of(TOOLING, MASKS), locked=packs, packages=(COLORAMA,))
        for number in range(3)
    ]
    worker, other = lab.worker(host="gpu-1"), lab.worker(host="gpu-2")
    told = imported("comfyui-tooling-nodes", *(f"ETN_{number}" for number in range(40)))
    lab.tried(worker, digests[0], ready=True, packs=[told], classes=560, start_s=7.5)
    report(worker, digests[0], "ready")
    assert lab.post("promote", revision=1).status_code == 200
    broken = {"folder": "masks", "imported": False, "error": f"{LONG}\nTraceback"}
    lab.tried(other, digests[1], ready=False, message=LONG, hint=LONG, packs=[told, broken])
    report(other, digests[1], "failed", message=LONG, hint=LONG)
    report(worker, digests[2], "building", step="Installing packages", part=0.4)
    graph = {"1": node("Fancy Blend")}
    workflows = {
        account: stack.client(account).http.post("/api/v1/workflows", json={"name": "w", "prompt": graph}).json()["id"]
        for account in (None, "asker")
    }
    assert stack.visitor("asker").post(f"/workflows/{workflows['asker']}/ask").status_code == 303
    one = f"/environments/{lab.name}"
    revisions = [f"{one}/revisions/{number}" for number in (1, 2, 3)]
    mine, asked = (f"/workflows/{workflows[account]}" for account in (None, "asker"))
    return {
        None: ["/environments", one, f"{one}/edit", *revisions, mine, f"{mine}/settings"],
        "asker": ["/environments", asked, f"{asked}/settings"],
    }


@pytest.mark.parametrize("screen", SCREENS)
def test_every_state(
    stack: Stack, enter: Enter, paths: dict[str | None, list[str]], screen: str, node_clients: Path
) -> None:
    axe, found = axe_in(node_clients), []
    for account, addresses in paths.items():
        page = enter(stack, account, viewport=SCREENS[screen])
        found += [each for path in addresses for each in findings(page, axe, path)]
    assert not found, "\n".join(map(str, found))


def test_a_spec_with_an_error_and_packs_that_were_found(
    stack: Stack, enter: Enter, paths: dict[str | None, list[str]], node_clients: Path
) -> None:
    page = enter(stack, None, viewport=SCREENS["phone"])
    page.goto(paths[None][2])
    page.get_by_label("What the next revision is made of").fill("comfyui = ")
    page.get_by_role("button", name="Save").click()
    page.locator("#spec-problem").wait_for()
    page.evaluate(axe_in(node_clients))
    assert serious(page.evaluate(LOOK)) == []
    page.get_by_label("Source, name, node or address").fill("Fancy Blend")
    page.get_by_role("button", name="Add or search").click()
    page.get_by_role("list", name="Packs found").wait_for()
    page.evaluate(axe_in(node_clients))
    assert serious(page.evaluate(LOOK)) == []
