"""Nodes make ComfyUI say anything, without end: a bounded part of it is known, and the server can read every report."""

from __future__ import annotations

import asyncio
import json
import random
import struct
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pytest

from comfyward.comfy import messages
from comfyward.comfy.messages import Executed, Executing, NodeState, parse_binary, parse_text
from comfyward.errors import GraphRefused
from comfyward.python_json import read_answer
from comfyward.runs.run import EndReason
from comfyward.worker import complete_files, graph_progress, previews, reporter
from comfyward.worker.attempt import Attempt
from comfyward.worker.collect import Gathering
from comfyward.worker.failures import MAX_FAILURE_BYTES, failure_of_error, failure_of_refusal
from comfyward.worker.graph_progress import GraphProgress
from comfyward.worker.link import ServerLink
from comfyward.worker.message_handler import MessageHandler
from comfyward.worker.previews import Previews
from comfyward.worker.protocol import Ended, NodeProgress, PreviewFrame, Reports
from comfyward.worker.reporter import Reporter

GRAPH = {"1": {}, "2": {}}
DEEP: Any = "x"
for _ in range(150):
    DEEP = [DEEP]
STRANGE = [
    *(
        None,
        True,
        -1,
        0,
        1,
        10**400,
        -(10**400),
        1e308,
        float("nan"),
        float("inf"),
        float("-inf"),
        "nan",
        "inf",
        "",
        "1",
    ),
    *("2", "\ud800", "a" * 100_000, [], ["1"], {}, {"1": "1"}, DEEP, [[["x"]]], "finished", "output", "p", "image/png"),
]


class Link:
    """A server that reads each report as the real one does."""

    takes_outputs_early = True

    def __init__(self) -> None:
        self.got: list[Reports] = []

    async def report(self, reports: Reports) -> None:
        self.got.append(msgspec.json.decode(msgspec.json.encode(reports), type=Reports))


class Told:
    """A run that is told what a node made ComfyUI say."""

    def __init__(self) -> None:
        self.link, self.stale = Link(), asyncio.Event()
        self.reporter = Reporter(cast("ServerLink", self.link), "lease", self.stale.set)
        self.progress = GraphProgress(GRAPH)
        self.prompt_id = "p"
        self.pictures = 0
        self.handler = MessageHandler(cast("Attempt", self), cast("Gathering", self))

    def more(self) -> None:
        """Nothing is collected."""

    async def picture(self, node: str, content_type: str, data: bytes) -> None:
        self.pictures += 1

    async def end(self) -> list[Reports]:
        await self.reporter.ended(Ended(0, EndReason.COMPLETED))
        assert not self.stale.is_set()
        return self.link.got


async def test_strange_values_are_left_out() -> None:
    told, chance = Told(), random.Random(12)
    for _ in range(3000):
        if (message := parse_text(json.dumps(strange_message(chance)))) is not None:
            await told.handler.handle(message)
    for _ in range(500):
        about = json.dumps({name: chance.choice(STRANGE) for name in ("prompt_id", "node_id", "image_type")}).encode()
        if (preview := parse_binary(struct.pack(">II", 4, len(about)) + about + b"picture")) is not None:
            await told.handler.handle(preview)

    for report in [report for reports in await told.end() for report in reports.reports]:
        match report:
            case NodeProgress():
                assert 0 <= report.value <= messages.LARGEST
                assert 0 <= report.maximum <= messages.LARGEST
                assert report.part is not None
                assert 0 <= report.part <= 1
            case PreviewFrame():
                assert report.content_type.startswith("image/")
    assert told.handler.error is None or isinstance(told.handler.error, dict)


def strange_message(chance: random.Random) -> dict[str, Any]:
    """A message of a random kind, whose fields are strange, or missing."""
    fields = [
        *("prompt_id", "node", "display_node", "value", "max", "output", "nodes", "comfyward", "node_id"),
        *("exception_message", "traceback", "executed", "current_inputs"),
    ]
    data: dict[str, Any] = {name: chance.choice(STRANGE) for name in fields if chance.random() < 0.9}
    if chance.random() < 0.8:
        data["prompt_id"] = "p"
    if chance.random() < 0.5:
        data["node"] = chance.choice(["1", "2", "made"])
        data["comfyward"] = {"is_output": chance.choice(STRANGE), "files": chance.choice([*STRANGE, [["a", 1, 1]]])}
    if chance.random() < 0.5:
        state = ("state", "value", "max", "display_node_id", "parent_node_id", "real_node_id")
        data["nodes"] = {"1": {name: chance.choice(STRANGE) for name in state}}
    kinds = ["execution_cached", "executing", "progress_state", "progress", "executed", "execution_error", DEEP, None]
    return {"type": chance.choice(kinds), "data": data if chance.random() < 0.95 else chance.choice(STRANGE)}


def made(number: int, characters: int = 0) -> NodeState:
    name = f"1.0.0.{number}".ljust(characters, "x")
    return NodeState(name, "running", 0.0, 1.0, "1", "1", "1")


def known_characters(progress: GraphProgress) -> int:
    return sum(len(name) for state in progress.nodes.values() for name in state.names)


def test_of_a_million_nodes_the_first_are_known() -> None:
    progress = GraphProgress(GRAPH)

    progress.move(made(number) for number in range(1_000_000))
    for number in range(2_000):
        progress.begin(Executing("p", f"later {number}", "1", files={f"{number}": (1, 1)}))

    assert 1000 < len(progress.nodes) < 50_000
    assert len(progress.is_output) == 0
    [told] = progress.begin(Executing("p", "2", "2"))  # a node of the graph always is
    assert (told.node, told.total) == ("2", 2)
    assert progress.nodes["1.0.0.1"].real == "1"


def test_names_of_megabytes_are_ignored() -> None:
    progress = GraphProgress(GRAPH)

    progress.move(made(number, 1 << 20) for number in range(100))
    for number in range(100):
        progress.move([NodeState("2", "running", float(number), 100.0, f"{number}".ljust(1 << 20), None, "2")])

    assert known_characters(progress) <= graph_progress.MADE_CHARACTERS + 10


def test_files_of_nodes_that_never_end_are_not_kept_for_each() -> None:
    progress = GraphProgress(GRAPH)
    for number in range(1000):
        progress.begin(Executing("p", f"1.{number}", "1", files={f"{number}": (1, 1)}))

    assert len({id(files) for files in progress._files._at_start.values()}) <= complete_files.MAX_AT_WORK
    assert progress.whole() == {"0": (1, 1)}


def test_endless_results_are_ignored_and_the_first_are_kept() -> None:
    progress = GraphProgress(GRAPH)
    for number in range(100):
        progress.finish(Executed("p", f"{number}", f"{number}", {"text": ["x"]}, characters=1 << 20))

    assert len(progress.node_results) == 32


async def test_progress_of_many_nodes_is_told_in_parts() -> None:
    told = Told()
    for number in range(10_000):
        told.reporter.progress(NodeProgress(f"1.0.0.{number}", 0, 1, 0, 2))
    told.reporter.progress(NodeProgress("x" * (1 << 20), 0, 1, 0, 2))
    while sum(len(reports.reports) for reports in told.link.got) < 2000:
        await asyncio.sleep(0)

    sizes = [len(msgspec.json.encode(reports)) for reports in await told.end()]
    assert max(sizes) < 2 * reporter.MAX_PROGRESS_CHARACTERS


def test_previews_are_bounded_in_size_and_time() -> None:
    waiting, sent, now = Previews(), 0, 0.0
    for number in range(10_000):
        waiting.put(PreviewFrame(f"{number}", "image/jpeg", bytes(100_000)))
        waiting.put(PreviewFrame("large", "image/jpeg", bytes(previews.MAX_WAITING_BYTES + 1)))
        assert len(waiting) * 100_000 <= previews.MAX_WAITING_BYTES
        now += 0.001
        sent += sum(len(frame.data) for frame in waiting.take(now))

    assert sent <= previews.BYTES_PER_S * (now + previews.BURST_S) + previews.MAX_WAITING_BYTES


async def test_a_preview_is_sent_before_the_next_node_begins() -> None:
    told = Told()
    for node in ("1", "2"):
        told.reporter.progress(NodeProgress(node, 0, 1, 0, 2))
        told.reporter.preview(node, "image/png", node.encode())

    sent = [report for reports in await told.end() for report in reports.reports]

    assert [(type(report), report.node) for report in sent if isinstance(report, NodeProgress | PreviewFrame)] == [
        *((NodeProgress, "1"), (PreviewFrame, "1")),
        *((NodeProgress, "2"), (PreviewFrame, "2")),
    ]


class Unsent(Link):
    """Takes reports as they are."""

    async def report(self, reports: Reports) -> None:
        self.got.append(reports)


class Weighed(bytes):
    """Bytes that count how often anybody asks for their number."""

    asked = 0

    def __len__(self) -> int:
        Weighed.asked += 1
        return super().__len__()


async def test_a_preview_costs_the_same_beside_many_others() -> None:
    """Else the messages of one run keep a worker from hearing anything else."""
    got, nodes = Unsent(), 500
    waiting = Reporter(cast("ServerLink", got), "lease", asyncio.Event().set)
    for number in range(nodes):
        waiting.preview(f"{number}", "image/png", Weighed(b"small"))
        waiting.progress(NodeProgress(f"{number}", 0, 1, 0, 2))
    await waiting.ended(Ended(0, EndReason.COMPLETED))

    assert sum(isinstance(report, PreviewFrame) for reports in got.got for report in reports.reports) == nodes
    assert Weighed.asked < 20 * nodes


async def test_of_previews_that_wait_the_newest_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter, "MAX_WAITING_BYTES", 10)
    told = Told()
    for node, data in (("1", b"four"), ("2", b"four"), ("1", b"five!"), ("3", b"two")):
        told.reporter.preview(node, "image/png", data)
        told.reporter.progress(NodeProgress(node, 0, 1, 0, 2))

    sent = [report for reports in await told.end() for report in reports.reports if isinstance(report, PreviewFrame)]
    assert [(frame.node, frame.data) for frame in sent] == [("1", b"five!"), ("3", b"two")]


def test_the_newest_preview_of_each_node_is_sent() -> None:
    waiting = Previews()
    for node, data in (("1", b"old"), ("2", b"other"), ("1", b"new")):
        waiting.put(PreviewFrame(node, "image/png", data))

    assert [(frame.node, frame.data) for frame in waiting.take(0)] == [("2", b"other"), ("1", b"new")]
    assert waiting.take(0) == []


def refusals() -> Iterator[tuple[Any, Any]]:
    for strange in read_answer(json.dumps(STRANGE)):
        yield {"type": strange, "message": strange}, {"1": {"errors": strange, "class_type": strange}}
        yield {}, {"1": {"errors": [strange], "class_type": "X"}}
        yield {}, {"1": {"errors": [{"type": "value_not_in_list", "extra_info": strange}]}}


@pytest.mark.parametrize(("error", "node_errors"), list(refusals()))
def test_strange_refusals_can_be_reported(error: Any, node_errors: Any) -> None:
    _, report = failure_of_refusal(GraphRefused("refused", error=error, node_errors=node_errors))
    assert readable(Ended(1, EndReason.VALIDATION, failure=report))


def test_an_endless_failure_is_shortened() -> None:
    lines, inputs = ["x" * 10_000] * 2000, {f"{number}": ["y" * 20_000] * 200 for number in range(200)}
    error = {"exception_message": "m", "traceback": lines, "executed": lines, "current_inputs": inputs}
    _, report = failure_of_error(error | {"exception_type": "T" * (1 << 20)}, {})

    assert len(msgspec.json.encode(report)) < MAX_FAILURE_BYTES
    assert report.traceback


def readable(report: Ended) -> bool:
    return bool(msgspec.json.decode(msgspec.json.encode(Reports("lease", [report])), type=Reports))
