"""Before a revision is promoted, its page says which classes come and go, and whose workflows use one that goes."""

from __future__ import annotations

import pytest

from tests.attacks.environment_lab import Lab
from tests.attacks.raw_worker import graph_of
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none")


def test_classes_and_workflows(stack: Stack) -> None:
    lab = Lab(stack)
    worker = lab.worker()
    lab.has_ready(worker, lab.revision("1"), "Paint", "Crop")
    assert lab.post("promote").status_code == 200
    for account, environment, class_type in (
        ("ann", lab.name, "Crop"),
        ("ann", lab.name, "Paint"),
        ("ben", f"{lab.name}@1", "Crop"),
    ):
        body = {"name": "w", "environment": environment, "prompt": graph_of(class_type)}
        assert stack.client(account).http.post("/api/v1/workflows", json=body).status_code == 201
    lab.has_ready(worker, lab.revision("2"), "Paint", "Blur")

    text = stack.visitor().get(f"/environments/{lab.name}/revisions/2").text

    assert "Nodes, compared with revision 1, which is current" in text
    assert f"1 workflow uses a class that goes with {lab.name}@2, Crop: &#39;w&#39; of ann." in text
    assert "Lost: 1 class</summary>" in text
    assert "New: 1 class</summary>" in text
    assert "compared with revision" not in stack.visitor().get(f"/environments/{lab.name}/revisions/1").text
    assert stack.visitor().get(f"/environments/{lab.name}/revisions/3").status_code == 404
    assert stack.visitor().get(f"/environments/{lab.name}/revisions/x").status_code == 404
