"""What ComfyUI says of a graph on its way: what is done of it never goes back, and what is whole of it is known."""

from comfyward.comfy.messages import Executed, Executing, NodeState
from comfyward.worker.course import Course
from comfyward.worker.protocol import NodeProgress

GRAPH = {"1": {}, "5": {}, "7": {}}


def begin(course: Course, node: str, display: str | None = None, files: dict | None = None) -> NodeProgress:
    move(course, node, "running", display=display)
    return course.begin(Executing("p", node, display or node, files=files))


def move(
    course: Course, node: str, state: str, value: float = 0, maximum: float = 1, display: str | None = None
) -> list[NodeProgress]:
    about = NodeState(node, state, value, maximum, display or node, display, display or node)
    return course.move([about])


def finish(course: Course, node: str, display: str | None = None) -> NodeProgress:
    [progress] = move(course, node, "finished", 1, 1, display)
    return progress


def test_nodes_are_counted_when_they_have_finished() -> None:
    course = Course(GRAPH)
    course.cached(["1", "unknown"])

    assert begin(course, "5") == NodeProgress("5", 0, 1, 1, 3, part=1 / 3)
    [half] = move(course, "5", "running", 10, 20)
    assert half == NodeProgress("5", 10, 20, 1, 3, part=0.5)
    assert finish(course, "5") == NodeProgress("5", 1, 1, 2, 3, part=2 / 3, finished=True)
    assert move(course, "5", "finished", 1, 1) == []  # nothing new


def test_nodes_made_at_run_time_are_parts_of_the_one_that_they_are_shown_as() -> None:
    course, parts = Course(GRAPH), []
    begin(course, "5")
    for number in range(4):  # each is made when the one before has finished
        parts.append(begin(course, f"5.0.0.{number}", "5").part)
        done = finish(course, f"5.0.0.{number}", "5")
        assert (done.done, done.total, done.display, done.parent, done.real) == (0, 3, "5", "5", "5")
        parts.append(done.part)

    assert parts == sorted(parts)
    assert max(parts) < 1 / 3
    assert finish(course, "5").part == 1 / 3


def test_a_bar_that_starts_again_does_not_take_the_graph_back() -> None:
    course = Course(GRAPH)
    begin(course, "1")
    move(course, "1", "running", 9, 10)

    [again] = move(course, "1", "running", 1, 10)

    assert (again.value, again.part) == (1, 0.3)


def test_files_of_nodes_that_have_finished_are_whole() -> None:
    course = Course(GRAPH)
    begin(course, "1", files={})
    course.finish(Executed("p", "1", "1", {"images": [{"filename": "a.png", "subfolder": "s", "type": "output"}]}))
    finish(course, "1")
    begin(course, "5", files={"s/a.png": (3, 1), "quiet.bin": (4, 1)})

    assert course.whole() == {"s/a.png": (3, 1), "quiet.bin": (4, 1)}
    assert course.is_whole("s/a.png", (3, 1))
    assert course.is_whole("quiet.bin", (4, 1))
    assert not course.is_whole("s/a.png", (3, 2))  # written again by a node that is at work
    assert not course.is_whole("half.mp4", (1, 1))
    finish(course, "5")
    assert course.is_whole("half.mp4", (1, 1))


def test_two_nodes_at_work_at_once() -> None:
    course = Course(GRAPH)
    begin(course, "1", files={})
    begin(course, "5", files={"of-one.bin": (1, 1)})  # the first waits for something meanwhile
    finish(course, "5")

    assert not course.is_whole("of-one.bin", (1, 1))
    course.finish(Executed("p", "5", "5", {"files": [{"filename": "of-five.bin", "type": "output"}]}))
    assert course.is_whole("of-five.bin", (1, 1))


def test_without_our_extension_what_nodes_show_is_whole() -> None:
    course = Course(GRAPH)
    begin(course, "1")
    course.finish(Executed("p", "1", "1", {"images": [{"filename": "a.png", "type": "output"}]}))

    assert course.whole() == {"a.png": None}
    assert course.is_whole("a.png", (1, 1))
    assert not course.is_whole("b.png", (1, 1))


def test_where_nothing_was_heard_nothing_is_known() -> None:
    course = Course(GRAPH)
    assert not course.is_whole("a.png", (1, 1))

    course.recall({"9": {"images": [{"filename": "a.png", "type": "output"}]}}, {})

    assert course.is_whole("a.png", (1, 1))
