"""A check keeps nothing of its file: after 500 of them, each another, the server is as large as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2

from tests.attacks.raw_worker import catalog_of, worker_of
from tests.stack.conftest import StartFake
from tests.stack.editor_files import node
from tests.stack.stack import Stack

CHECKS, WARM_UP = 500, 100
MOST_BYTES = 12 << 20  # the files are 24 MB of JSON, and more once they are read


def file_of(number: int) -> dict[str, Any]:
    """A workflow of 100 nodes, none of which is in another file."""
    models = [{"name": f"m{number}.pt", "url": f"http://10.0.0.1/{number}/m{number}.pt", "directory": "loras"}]
    nodes = [
        node(each, f"Class{number}" if each % 10 == 0 else "Paint", f"text {number} {each} {'x' * 400}")
        for each in range(1, 100)
    ]
    return {"nodes": [*nodes, node(100, "Load", f"m{number}.pt", properties={"models": models})], "links": []}


def check(http: httpx2.Client, number: int) -> None:
    found = http.post("/api/v1/workflows/check", json={"workflow": file_of(number)})
    assert found.status_code == 200, found.text
    assert [each["count"] for each in found.json()["classes"]] == [9, 1]
    assert [each["name"] for each in found.json()["models"]] == [f"m{number}.pt"]


def resident_bytes(stack: Stack) -> int:
    assert stack.process is not None
    status = Path(f"/proc/{stack.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) << 10


def test_a_check_of_500_files_holds_memory(start_fake: StartFake) -> None:
    stack = start_fake(fleet="none")
    worker_of(stack, "L4", of_any=True).joined(catalog_of("Paint"))
    http = stack.client().http
    for number in range(WARM_UP):
        check(http, number)
    before = resident_bytes(stack)

    for number in range(WARM_UP, WARM_UP + CHECKS):
        check(http, number)

    assert resident_bytes(stack) - before < MOST_BYTES
