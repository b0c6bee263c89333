"""Before an environment is deleted, its page says whose workflows use it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Dialog, expect

from tests.attacks.environment_lab import Lab
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack
from tests.stack.web.conftest import LIMIT_MS, Enter


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none")


def test_its_users_are_named_and_the_answer_counts(stack: Stack, enter: Enter) -> None:
    expect.set_options(timeout=LIMIT_MS)
    lab = Lab(stack)
    lab.revision("1")
    for account, environment in (("ann", lab.name), ("ann", f"{lab.name}@1"), ("ben", lab.name)):
        made = stack.client(account).http.post("/api/v1/workflows", json={"name": "w", "environment": environment})
        assert made.status_code == 201
    page = enter(stack, None)
    page.goto(f"/environments/{lab.name}/edit")
    expect(page.get_by_text("It is used by 3 workflows of ann, ben.")).to_be_visible()
    questions: list[str] = []

    def answer(accepts: bool) -> None:
        def said(dialog: Dialog) -> None:
            questions.append(dialog.message)
            dialog.accept() if accepts else dialog.dismiss()

        page.once("dialog", said)
        page.get_by_role("button", name="Delete environment").click()

    answer(accepts=False)
    assert stack.client().http.get(f"/api/v1/environments/{lab.name}").status_code == 200
    answer(accepts=True)
    page.wait_for_url("**/environments")

    question = f"Delete {lab.name} with 1 revision? It is used by 3 workflows of ann, ben, whose runs will be refused."
    assert questions == [question, question]
    assert stack.client().http.get(f"/api/v1/environments/{lab.name}").status_code == 404
