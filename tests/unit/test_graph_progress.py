"""Progress of a graph from ComfyUI's messages: it never decreases, and finished files are known."""

from comfyward.comfy.messages import Executed, Executing, NodeState
from comfyward.worker.graph_progress import GraphProgress
from comfyward.worker.protocol import NodeProgress

GRAPH = {"1": {}, "5": {}, "7": {}}


def begin(graph: GraphProgress, node: str, display: str | None = None, files: dict | None = None) -> NodeProgress:
    move(graph, node, "running", display=display)
    [progress] = graph.begin(Executing("p", node, display or node, files=files))
    return progress


def move(
    graph: GraphProgress, node: str, state: str, value: float = 0, maximum: float = 1, display: str | None = None
) -> list[NodeProgress]:
    about = NodeState(node, state, value, maximum, display or node, display, display or node)
    return graph.move([about])


def finish(graph: GraphProgress, node: str, display: str | None = None) -> NodeProgress:
    [progress] = move(graph, node, "finished", 1, 1, display)
    return progress


def test_only_finished_nodes_are_counted() -> None:
    graph = GraphProgress(GRAPH)
    graph.cached(["1", "unknown"])

    assert begin(graph, "5") == NodeProgress("5", 0, 1, 1, 3, part=1 / 3)
    [half] = move(graph, "5", "running", 10, 20)
    assert half == NodeProgress("5", 10, 20, 1, 3, part=0.5)
    assert finish(graph, "5") == NodeProgress("5", 1, 1, 2, 3, part=2 / 3, finished=True)
    assert move(graph, "5", "finished", 1, 1) == []  # nothing new


def test_expanded_nodes_count_towards_the_node_they_display_as() -> None:
    graph, parts = GraphProgress(GRAPH), []
    begin(graph, "5")
    for number in range(4):  # each is made when the one before has finished
        parts.append(begin(graph, f"5.0.0.{number}", "5").part)
        done = finish(graph, f"5.0.0.{number}", "5")
        assert (done.done, done.total, done.display, done.parent, done.real) == (0, 3, "5", "5", "5")
        parts.append(done.part)

    assert parts == sorted(parts)
    assert max(parts) < 1 / 3
    assert finish(graph, "5").part == 1 / 3


def test_a_restarted_progress_bar_does_not_reduce_progress() -> None:
    graph = GraphProgress(GRAPH)
    begin(graph, "1")
    move(graph, "1", "running", 9, 10)

    [again] = move(graph, "1", "running", 1, 10)

    assert (again.value, again.part) == (1, 0.3)


def test_files_of_finished_nodes_are_complete() -> None:
    graph = GraphProgress(GRAPH)
    begin(graph, "1", files={})
    graph.finish(Executed("p", "1", "1", {"images": [{"filename": "a.png", "subfolder": "s", "type": "output"}]}))
    finish(graph, "1")
    begin(graph, "5", files={"s/a.png": (3, 1), "quiet.bin": (4, 1)})

    assert graph.whole() == {"s/a.png": (3, 1), "quiet.bin": (4, 1)}
    assert graph.is_whole("s/a.png", (3, 1))
    assert graph.is_whole("quiet.bin", (4, 1))
    assert not graph.is_whole("s/a.png", (3, 2))  # written again by a node that is at work
    assert not graph.is_whole("half.mp4", (1, 1))
    finish(graph, "5")
    assert graph.is_whole("half.mp4", (1, 1))


def test_two_nodes_at_work_at_once() -> None:
    graph = GraphProgress(GRAPH)
    begin(graph, "1", files={})
    begin(graph, "5", files={"of-one.bin": (1, 1)})  # the first waits for something meanwhile
    finish(graph, "5")

    assert not graph.is_whole("of-one.bin", (1, 1))
    graph.finish(Executed("p", "5", "5", {"files": [{"filename": "of-five.bin", "type": "output"}]}))
    assert graph.is_whole("of-five.bin", (1, 1))


def test_without_the_extension_displayed_files_are_complete() -> None:
    graph = GraphProgress(GRAPH)
    begin(graph, "1")
    graph.finish(Executed("p", "1", "1", {"images": [{"filename": "a.png", "type": "output"}]}))

    assert graph.whole() == {"a.png": None}
    assert graph.is_whole("a.png", (1, 1))
    assert not graph.is_whole("b.png", (1, 1))


def test_without_messages_there_is_no_progress() -> None:
    graph = GraphProgress(GRAPH)
    assert not graph.is_whole("a.png", (1, 1))

    graph.recall({"9": {"images": [{"filename": "a.png", "type": "output"}]}}, {})

    assert graph.is_whole("a.png", (1, 1))
