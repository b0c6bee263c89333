"""Members see the names of environments and what they can choose; the pages and acts of admins are refused."""

from __future__ import annotations

import pytest

from tests.attacks.environment_lab import Lab
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none")


def test_names_current_revisions_and_nothing_else(stack: Stack) -> None:
    lab = Lab(stack)
    digest = lab.revision("1")
    lab.has_ready(lab.worker(), digest, "Paint")
    assert lab.post("promote").status_code == 200
    member = stack.visitor("a-member")

    text = member.get("/environments").text

    assert lab.name in text
    assert "revision 1 is current" in text
    assert f"<code>{lab.name}@1</code>" in text
    main = text.partition("<main")[2]
    assert "<form" not in main
    assert "<button" not in main
    one = f"/environments/{lab.name}"
    assert [member.get(path).status_code for path in (one, f"{one}/edit", f"{one}/revisions/1")] == [403] * 3
    acts = ("try", "promote", "rollback", "delete", "edit", "packs", "packs/remove", "packs/web")
    acts += ("lock", "lock/cancel", "update", "update/accept")
    assert [member.post(f"{one}/{act}", data={"revision": "1"}).status_code for act in acts] == [403] * len(acts)
    new = {"name": "mine", "comfyui": "0.3.75"}
    assert member.post("/environments", data=new).status_code == 403
    assert stack.visitor().post("/environments", data=new).status_code == 303
