"""A workflow's settings make it part of trials; the environment's page shows how that went, and what it keeps back."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.attacks.environment_lab import Lab
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack
from tests.stack.test_trials_repeat_marked_workflows import BLUE, end, prepared, rehearsed, tried
from tests.stack.web.conftest import LIMIT_MS, Enter, by_keyboard


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none")


def test_a_difference_keeps_a_revision_from_becoming_current(stack: Stack, enter: Enter) -> None:
    expect.set_options(timeout=LIMIT_MS)
    lab, page = Lab(stack), enter(stack, None)
    worker, first, workflow = prepared(lab)

    def is_part() -> bool:
        return bool(lab.client.http.get(f"/api/v1/workflows/{workflow}").json()["in_trials"])

    for wanted in (False, True):
        page.goto(f"/workflows/{workflow}/settings")
        box = page.get_by_label("Part of trials")
        assert box.is_checked() is not wanted
        box.set_checked(wanted)
        page.get_by_role("button", name="Save").click()
        page.wait_for_url(f"**/workflows/{workflow}")
        assert is_part() is wanted

    held = tried(lab, worker, "2", first)
    page.goto(f"/environments/{lab.name}")
    revision = page.get_by_role("listitem", name="Revision 2")
    expect(revision).to_contain_text("My lighthouse")
    expect(revision.get_by_role("button", name="Promote", exact=True)).to_have_count(0)
    end(worker, held, BLUE)
    rehearsed(lab, worker)
    expect(revision.locator(".failure")).to_have_text(
        "Its picture differs by 39% from the one before; up to 5% is the same."
    )
    expect(revision.get_by_role("button", name="Promote without a trial")).to_be_visible()
    expect(revision.get_by_role("button", name="Promote", exact=True)).to_have_count(0)
    by_keyboard(page.get_by_role("link", name="Revision 2"))
    expect(page.get_by_role("list", name="Workflows that were repeated")).to_contain_text("differs by 39%")

    page.goto(f"/environments/{lab.name}")
    by_keyboard(page.get_by_role("button", name="Promote new revisions after good trials"))
    page.get_by_role("button", name="Promote by hand only").wait_for()
    assert lab.shown()["auto_promote"] is True
