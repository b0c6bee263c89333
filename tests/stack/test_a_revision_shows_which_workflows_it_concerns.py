"""What a revision changes names the node classes that go, and the saved workflows that use them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.environment_lab import Lab
from tests.attacks.raw_worker import graph_of
from tests.command_line import comfyward
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none")


def save(stack: Stack, account: str, name: str, environment: str, **graphs: Any) -> str:
    body = {"name": name, "environment": environment, **graphs}
    answer = stack.client(account).http.post("/api/v1/workflows", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_workflows_that_use_what_goes_are_named(stack: Stack) -> None:
    lab = Lab(stack)
    worker = lab.worker()
    lab.has_ready(worker, lab.revision("1"), "Paint", "Crop")
    assert lab.post("promote").json()["warnings"] == []
    cropping = save(stack, "alice", "My crops", lab.name, prompt=graph_of("Crop"))
    save(stack, "alice", "Pinned", f"{lab.name}@1", prompt=graph_of("Crop"))
    save(stack, "bob", "Other", "default", prompt=graph_of("Crop"))
    save(stack, "bob", "Paints", lab.name, prompt=graph_of("Paint"))
    editor = save(stack, "bob", "Drawn", lab.name, workflow={"nodes": [{"id": 1, "type": "Crop"}]})
    second = lab.revision("2")
    path = f"/api/v1/environments/{lab.name}/revisions/2/diff"
    before = lab.client.http.get(path).json()
    assert (before["classes"], before["workflows"]) == (None, [])

    lab.has_ready(worker, second, "Paint", "Draw")

    found = lab.client.http.get(path).json()
    assert found["classes"] == {"gained": ["Draw"], "lost": ["Crop"], "inputs": []}
    assert sorted((each["id"], each["owner"], each["lost"]) for each in found["workflows"]) == sorted(
        [(cropping, "alice", ["Crop"]), (editor, "bob", ["Crop"])]
    )
    told = command(stack, "diff", lab.name)
    assert {"+ class Draw", "- class Crop"} <= set(told)
    assert f"Workflow 'My crops' of alice ({cropping}) uses what goes: Crop" in told
    promoted = lab.post("promote").json()
    assert promoted["current"] == 2
    (warning,) = promoted["warnings"]
    assert warning.startswith(f"2 workflows use a class that goes with {lab.name}@2, Crop: ")
    assert "'My crops' of alice" in warning
    assert "'Drawn' of bob" in warning
    assert lab.post("promote").json()["warnings"] == []


def command(stack: Stack, *arguments: str) -> list[str]:
    """The lines of a command on the server, with an admin's key."""
    key = {"COMFYWARD_API_KEY": stack.client().key}
    done = comfyward("environments", *arguments, "--url", stack.url, environment=key)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
