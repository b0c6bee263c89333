"""On a phone, what can be done with a row of a table is in view, and lines of a file's name end between its words."""

from __future__ import annotations

import pytest

from tests.stack.graphs import picture
from tests.stack.stack import Stack
from tests.stack.web.conftest import Enter

PHONE = {"viewport": {"width": 390, "height": 844}}
NAME = "a_photograph_of_the_sea_in_the_morning_2026.png"
BUTTONS = """() => [...document.querySelectorAll("main td button")].map((each) => {
  const { left, right } = each.getBoundingClientRect();
  return [each.textContent, left >= 0 && right <= document.documentElement.clientWidth];
})"""
LINES = """(path) => {
  const code = [...document.querySelectorAll("td code")].find((each) => each.textContent === path);
  const lines = new Map();
  for (const part of code.childNodes) {
    for (let at = 0; at < (part.textContent ?? "").length; at++) {
      const range = document.createRange();
      range.setStart(part, at);
      range.setEnd(part, at + 1);
      const { top } = range.getBoundingClientRect();
      lines.set(top, (lines.get(top) ?? "") + range.toString());
    }
  }
  return [...lines.values()];
}"""


@pytest.fixture
def filled(real: Stack, account: str) -> str:
    """An account with a file, a secret and a workflow; its id."""
    client = real.client(account)
    sent = client.http.post("/api/v1/files", params={"path": f"/input/{NAME}"}, content=b"sea")
    assert sent.status_code < 300, sent.text
    kept = client.http.put("/api/v1/secrets/HF_TOKEN", json={"value": "hf_nobodys"})
    assert kept.status_code < 300, kept.text
    return account


@pytest.mark.parametrize(
    ("path", "button"), [("/files", "Delete"), ("/account/secrets", "Delete"), ("/account/security", "Log out")]
)
def test_buttons_of_rows_are_in_view(real: Stack, enter: Enter, filled: str, path: str, button: str) -> None:
    page = enter(real, filled, **PHONE)
    page.goto(path)

    assert [button, True] in page.evaluate(BUTTONS)


def test_the_form_of_a_workflow_is_edited_without_scrolling(real: Stack, enter: Enter, filled: str) -> None:
    made = real.client(filled).http.post("/api/v1/workflows", json={"name": "Sea", "prompt": picture()}).json()["id"]
    page = enter(real, filled, **PHONE)
    page.goto(f"/workflows/{made}/form")

    fields = page.locator("main td input:not([type=checkbox])")
    assert fields.count() > 1
    for field in fields.all():
        box = field.bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["x"] + box["width"] <= 390


def test_lines_of_a_file_name_end_between_words(real: Stack, enter: Enter, filled: str) -> None:
    page = enter(real, filled, **PHONE)
    page.goto("/files")

    lines = page.evaluate(LINES, f"/input/{NAME}")

    assert "".join(lines) == f"/input/{NAME}"
    assert len(lines) > 1
    assert all(line.endswith(("_", "/")) for line in lines[:-1]), lines
