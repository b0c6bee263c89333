"""A node leaves links where the worker reads and writes, and swaps folders for links while it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, node
from tests.stack.stack import Client, Stack


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once().wait_ready()


def contents(client: Client, run: dict[str, object]) -> dict[str, str]:
    """The text of each output by its name."""
    outputs = run["output"]
    assert isinstance(outputs, list)
    found = {output["filename"].partition("/output/")[2].partition("/")[2]: output["url"] for output in outputs}
    return {name: client.http.get(url).text for name, url in found.items()}


def test_a_folder_that_is_swapped_for_a_link_gives_no_file_of_the_host(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text("the host's")
    client = stack.client("mallory")
    swaps = node("FakeSwap", target=str(tmp_path))
    graph = {"1": swaps, "2": node("FakeWait", seconds=0.3), "3": node("FakeSave", text="x")}
    for _ in range(10):
        run = client.run(graph)
        told = contents(client, run)
        assert "fake_00001_.txt" in told
        assert {text for name, text in told.items() if name.startswith("top/")} <= {"the node's own"}

    assert (tmp_path / "key.txt").read_text() == "the host's"
    assert stack.client("victim").run(fake_save("as ever"))["status"] == "COMPLETED"


def test_a_text_is_not_written_through_a_link(stack: Stack, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("the host's")
    client = stack.client("mallory")
    graph = {"1": node("FakeLink", target=str(kept), names=["text_2.txt", "2"]), "2": node("FakeText", text="harm")}

    run = client.run(graph)

    assert run["status"] == "COMPLETED", run["error"]
    assert contents(client, run) == {"text_2.txt": "harm"}
    assert kept.read_text() == "the host's"
    assert stack.client("victim").run(fake_save("as ever"))["status"] == "COMPLETED"
