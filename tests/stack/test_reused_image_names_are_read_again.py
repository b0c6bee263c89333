"""Two accounts call different pictures by the same name; whatever a node reads or remembers, each sees its own."""

import io
import threading

import pytest
from PIL import Image

from tests import loopback
from tests.fakes.http import Origin
from tests.stack.following import followed
from tests.stack.graphs import node
from tests.stack.stack import Client, Stack

pytestmark = pytest.mark.engine

RED, BLUE = (255, 0, 0), (0, 0, 255)

READERS = {
    "named": node("TestReads", name="a.png"),
    "unchanged": node("TestReadsUnchanged", name="a.png"),
    "without_extension": node("TestReadsWithoutExtension", name="a"),
    "prefix": node("TestReadsPrefix", name="set_"),
    "everything": node("TestReadsEverything"),
    "spelled": node("TestReadsSpelled", count=1),
    "objects": node("TestReadsObjects", row_1={"on": True, "files": [{"picture": "a.png"}]}),
    "folder": node("LoadImageDataSetFromFolder", folder="pictures"),
    "object": node("TestRemembersInItsObject", name="a.png"),
    "path": node("TestRemembersByPath", name="a.png"),
}
BY_FOLDER = {"without_extension", "prefix", "everything", "spelled"}  # which ComfyUI is not told of
KEEP_MEMORIES = {  # and who refuses a run without the file: the node, or its validation
    "TestRemembersByName": "node_error",
    "TestRemembersOnItsClass": "node_error",
    "TestRemembersEverything": "node_error",
    "TestRemembersWhenAsked": "node_error",
    "TestRemembersWhenValidated": "validation",
}


def test_no_node_returns_the_image_that_had_the_name_before(real: Stack, site: Origin) -> None:
    alice = real.client("alice")
    saves = {f"save_{key}": node("SaveImage", images=[key, 0], filename_prefix=key) for key in READERS}
    graph = READERS | saves

    assert _seen(alice, site, graph, RED) == dict.fromkeys(READERS, RED)
    before = real.comfyui_pid()
    assert _seen(alice, site, graph, BLUE) == dict.fromkeys(READERS, BLUE)
    assert _seen(alice, site, graph, RED) == dict.fromkeys(READERS, RED)
    assert _cached(alice, site, graph, "a.png", "set_1.png", "pictures/one.png") == set(READERS)
    assert _cached(alice, site, graph, "a.png", "set_1.png", "pictures/one.png", "b.png") == set(READERS) - BY_FOLDER
    assert real.comfyui_pid() == before


@pytest.mark.parametrize("class_type", KEEP_MEMORIES)
def test_a_node_with_a_stale_memory_runs_in_a_new_comfyui(real: Stack, site: Origin, class_type: str) -> None:
    inputs = {} if class_type == "TestRemembersEverything" else {"name": "a.png"}
    alice = real.client("alice")
    graph = {"read": node(class_type, **inputs), "save": node("SaveImage", images=["read", 0], filename_prefix="read")}

    assert _seen(alice, site, graph, RED) == {"read": RED}
    before = real.comfyui_pid()
    assert _seen(alice, site, graph, BLUE) == {"read": BLUE}
    assert real.comfyui_pid() != before
    without = real.client("carol").run(graph)  # alice's link to the file would be used by its name
    assert (without["status"], without["end_reason"]) == ("ERROR", KEEP_MEMORIES[class_type])


def _seen(client: Client, site: Origin, graph: dict[str, object], colour: tuple[int, ...]) -> dict[str, object]:
    """The colour of each picture that a run saves, when every picture that it brings has one colour."""
    url = site.put(f"/{bytes(colour).hex()}.png", png(colour))
    names = ("a.png", "set_1.png", "pictures/one.png")
    run = client.run(graph, files={f"/input/{name}": url for name in names})
    assert run["status"] == "COMPLETED", run["error"]
    pictures = {each["filename"].rpartition("/")[2].rpartition("_00001_")[0]: each["url"] for each in run["output"]}
    return {name: _colour(loopback.get(url).content) for name, url in pictures.items()}


def _cached(client: Client, site: Origin, graph: dict[str, object], *names: str) -> set[str]:
    """The nodes that keep their results when the run brings these pictures, all of them red."""
    begins = threading.Event()
    files = {f"/input/{name}": site.put("/red.png", png(RED), hold=begins) for name in names}
    events = list(followed(client, client.submit(graph, files=files), begins))
    return set(next(data["nodes"] for kind, data, _ in events if kind == "cached"))


def _colour(data: bytes) -> tuple[int, ...]:
    return tuple(Image.open(io.BytesIO(data)).convert("RGB").getpixel((0, 0)))


def png(colour: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(buffer, "PNG")
    return buffer.getvalue()
