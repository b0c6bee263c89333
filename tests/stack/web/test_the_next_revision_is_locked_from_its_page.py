"""An admin has the next revision locked on its page: how far it is, why it failed, and what an update would change."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from playwright.sync_api import expect
from sqlalchemy import Connection, update

from comfyward.dispatch.lockings import LockingFinds
from comfyward.environments.difference import changes_between
from comfyward.environments.lock import Lock, LockedComfyUI
from comfyward.environments.updating import Offered
from comfyward.store import environments, lockings
from comfyward.store.db import now_ms
from comfyward.store.lockings import LOCK, TRY, UPDATE, Wish
from comfyward.store.schema import environment_lockings
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack
from tests.stack.web.conftest import LIMIT_MS, Enter, by_keyboard
from tests.stack.web.environments import TOOLING, locked, spec_of

HOUR_MS = 3_600_000
GONE = f"folder:ComfyUI@{'0' * 64}"


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none")


def elsewhere(stack: Stack, name: str, wish: Wish, **values: Any) -> None:
    """Another server works on a locking, and has just said so for a while."""

    def put(conn: Connection) -> None:
        now = now_ms()
        begun = lockings.begin(conn, name, wish, now)
        about = {"state": "locking", "server": "another", "renewed_at": now + HOUR_MS, **values}
        conn.execute(update(environment_lockings).where(environment_lockings.c.id == begun.id).values(**about))

    stack.write(put)


def test_its_failure_is_told_in_a_sentence(stack: Stack, enter: Enter) -> None:
    expect.set_options(timeout=LIMIT_MS)
    stack.write(environments.create, "gone", spec_of(comfyui=GONE), now_ms())
    page = enter(stack, None)
    page.goto("/environments/gone")

    by_keyboard(page.get_by_role("button", name="Lock and try"))

    expect(page.locator("#revisions .problem")).to_contain_text("Locking failed: ")
    expect(page.get_by_role("button", name="Lock and try")).to_be_visible()


def test_its_progress_is_shown_until_it_is_cancelled(stack: Stack, enter: Enter) -> None:
    expect.set_options(timeout=LIMIT_MS)
    stack.write(environments.create, "slow", spec_of(), now_ms())
    elsewhere(stack, "slow", Wish(LOCK, next=TRY), step="Fetching masks", part=0.5)
    page = enter(stack, None)
    page.goto("/environments/slow")

    expect(page.get_by_text("Locking the next revision: Fetching masks. It will be tried.")).to_be_visible()
    expect(page.get_by_role("progressbar", name="Locking")).to_have_attribute("value", "0.5")
    expect(page.get_by_role("button", name="Lock", exact=True)).to_have_count(0)
    by_keyboard(page.get_by_role("button", name="Cancel"))

    expect(page.get_by_role("button", name="Lock", exact=True)).to_be_visible()


def test_an_update_that_finds_nothing_says_so(stack: Stack, enter: Enter) -> None:
    expect.set_options(timeout=LIMIT_MS)
    stack.write(environments.create, "new", spec_of(TOOLING), now_ms())
    lock = Lock("linux/py3.11", LockedComfyUI("0.3.75", "0.3.75", "t"), (locked(TOOLING),), ())
    notes = ("The repository of masks did not answer.",)
    found = LockingFinds(spec_of(TOOLING), lock, offers=(Offered("0.30.0", "0.30.0"),), notes=notes)
    ended = {"state": "done", "found": msgspec.json.encode(found).decode(), "finished_at": now_ms()}
    elsewhere(stack, "new", Wish(UPDATE), **ended)
    page = enter(stack, None)

    page.goto("/environments/new")

    update_of = page.get_by_role("region", name="Update", exact=True)
    expect(update_of).to_contain_text("There was nothing newer")
    expect(update_of).to_contain_text("The repository of masks did not answer.")
    expect(update_of.get_by_role("button", name="Look at an update to ComfyUI 0.30.0")).to_be_visible()


def test_an_update_says_what_it_would_change_before_it_is_made(stack: Stack, enter: Enter) -> None:
    expect.set_options(timeout=LIMIT_MS)
    stack.write(environments.create, "old", spec_of(TOOLING), now_ms())
    lock = Lock("linux/py3.11", LockedComfyUI("0.3.75", "0.3.75", "t"), (locked(TOOLING),), ())
    found = LockingFinds(spec_of(TOOLING), lock, changes=tuple(changes_between(None, lock)))
    proposed = {"state": "proposed", "found": msgspec.json.encode(found).decode(), "finished_at": now_ms()}
    elsewhere(stack, "old", Wish(UPDATE), **proposed)
    page = enter(stack, None)
    page.goto("/environments/old")
    update_of = page.get_by_role("region", name="Update", exact=True)
    expect(update_of).to_contain_text(f"+ pack comfyui-tooling-nodes {TOOLING}")

    by_keyboard(page.get_by_role("button", name="Make this the next revision"))

    expect(page.get_by_role("listitem", name="Revision 1")).to_be_visible()
    expect(update_of).to_have_count(0)
    assert [each.number for each in stack.write(environments.revisions, "old")] == [1]
