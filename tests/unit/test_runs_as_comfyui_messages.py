"""The order of messages is ComfyUI's: clients take `executing` of no node for the end, and read the history then."""

import base64
import dataclasses
import json
import struct
from typing import Any

import msgspec

from comfyward.api.native.prompt_messages import Message, Picture, PromptMessages, Text
from comfyward.runs.event import Cached, Event, NodeResult, Payload, Preview, Progress, Status
from comfyward.runs.failure import Failure
from comfyward.runs.output import Output
from comfyward.runs.run import Api, EndReason, Run, State, public_status

SHOWN = {"outputs": {"9": {"images": [{"filename": "a.png", "subfolder": "sub", "type": "output"}]}}, "meta": {}}
RUN = Run(
    **{
        **{field.name: None for field in dataclasses.fields(Run)},
        "id": "run1",
        "prompt_id": "p",
        "submitted_via": Api.NATIVE,
        "state": State.SUCCEEDED,
        "end_reason": EndReason.COMPLETED,
        "node_results": msgspec.json.encode(SHOWN).decode(),
        "outputs": [Output("o", "sub/a.png", "d", 1, "image/png")],
        "previews": [],
        "started_at": 5,
        "finished_at": 9,
    }
)


def event(payload: Payload) -> Event:
    return Event("run1", "account", payload)


def status(state: State) -> Event:
    return event(Status(public_status(state, None), state, None))


def progress(node: str, value: float, maximum: float, **more: Any) -> Event:
    return event(Progress(node, value, maximum, nodes_done=0, nodes_total=2, done=0.0, **more))


MADE = {"display_node": "5", "parent_node": "5.0.0.1", "real_node": "5"}


def kinds(messages: list[Message]) -> list[str]:
    return [
        f"{message.type} {message.data.get('node')}" if "node" in message.data else message.type
        for message in messages
        if isinstance(message, Text)
    ]


def translate(*events: Event) -> tuple[PromptMessages, list[Message]]:
    prompt = PromptMessages("p")
    return prompt, [message for each in events for message in prompt.translate(each)]


def test_a_run_from_start_to_end() -> None:
    prompt, messages = translate(
        status(State.QUEUED),
        status(State.ASSIGNED),
        status(State.RUNNING),
        event(Cached(["1"])),
        progress("3", 0, 1),
        progress("3", 2, 4),
        progress("3", 4, 4, finished=True),
        progress("9", 0, 1),
    )
    messages += prompt.end(RUN)

    assert kinds(messages) == [
        "execution_start",
        "execution_cached",
        "progress_state",
        "executing 3",
        "progress_state",
        "progress 3",
        "progress_state",
        "progress 3",
        "progress_state",
        "progress_state",
        "executing 9",
        "progress_state",
        "executed 9",
        "execution_success",
    ]
    assert kinds([prompt.last()]) == ["executing None"]


def test_the_last_progress_step_is_sent_with_the_end_of_its_node() -> None:
    _, messages = translate(progress("3", 0, 1), progress("3", 2, 4), progress("3", 4, 4, finished=True))

    steps = [message.data for message in messages if isinstance(message, Text) and message.type == "progress"]
    assert [step["value"] for step in steps] == [2, 4]


def test_steps_are_whole_numbers() -> None:
    """Clients with types read no others (comfy-toolkit ignores `3.0`); a node may count in parts, too."""
    _, messages = translate(progress("3", 0.0, 1.0), progress("3", 2.0, 4.0), progress("3", 2.5, 4.0))

    said = [message.encode() for message in messages if isinstance(message, Text)]
    assert ['"value":2,"max":4,' in each for each in said if '"type":"progress"' in each] == [True, False]
    assert '"value":2.5,"max":4,' in said[-1]
    assert not any(".0" in each for each in said)


def test_node_results_are_stored_under_the_run_id() -> None:
    _, (*_, executed, _) = (prompt := PromptMessages("p")), prompt.end(RUN)

    assert isinstance(executed, Text)
    assert executed.data["output"]["images"] == [{"filename": "a.png", "subfolder": "run1/sub", "type": "output"}]


def test_every_message_carries_the_state_of_all_nodes() -> None:
    done = progress("3", 4, 4, finished=True)
    _, messages = translate(event(Cached([])), progress("3", 2, 4), done, progress("9", 0, 1))

    states = [
        message.data["nodes"] for message in messages if isinstance(message, Text) and message.type == "progress_state"
    ]
    assert [{node: state["state"] for node, state in nodes.items()} for nodes in states] == [
        {"3": "running"},
        {"3": "running"},
        {"3": "running"},
        {"3": "finished"},
        {"3": "finished", "9": "running"},
    ]


def test_nodes_made_at_run_time_keep_their_parents() -> None:
    _, messages = translate(progress("5", 0, 1), progress("5.0.0.2", 1, 2, **MADE), progress("5", 1, 1, finished=True))

    *_, executing, _, step, last = [message.data for message in messages if isinstance(message, Text)]
    assert executing == {"node": "5.0.0.2", "display_node": "5", "prompt_id": "p"}
    assert step == {"value": 1, "max": 2, "prompt_id": "p", "node": "5.0.0.2"}
    made = last["nodes"]["5.0.0.2"]
    assert {name: made[name] for name in made if name.endswith("node_id")} == {
        "node_id": "5.0.0.2",
        "display_node_id": "5",
        "parent_node_id": "5.0.0.1",
        "real_node_id": "5",
    }
    assert (made["state"], last["nodes"]["5"]["state"]) == ("running", "finished")


def test_node_results_are_sent_once() -> None:
    prompt, messages = translate(event(NodeResult("9", "5", SHOWN["outputs"]["9"])))

    [executed] = messages
    assert isinstance(executed, Text)
    assert executed.type == "executed"
    assert (executed.data["node"], executed.data["display_node"]) == ("9", "5")
    assert executed.data["output"]["images"] == [{"filename": "a.png", "subfolder": "run1/sub", "type": "output"}]
    assert kinds(list(prompt.end(RUN))) == ["execution_cached", "execution_success"]


def test_results_of_finished_nodes_are_sent_when_the_run_fails() -> None:
    meta = {"9": {"node_id": "9", "display_node": "5", "parent_node": "5", "real_node_id": "5"}}
    shown = msgspec.json.encode({**SHOWN, "meta": meta}).decode()
    failed = dataclasses.replace(
        RUN, state=State.FAILED, end_reason=EndReason.NODE_ERROR, failure=Failure(""), node_results=shown
    )

    executed, error = PromptMessages("p", has_begun=True).end(failed)

    assert isinstance(executed, Text)
    assert isinstance(error, Text)
    assert (executed.type, executed.data["display_node"], error.type) == ("executed", "5", "execution_error")


def test_execution_cached_comes_even_when_nothing_was() -> None:
    _, messages = translate(status(State.RUNNING), progress("3", 0, 1))

    assert kinds(messages)[:2] == ["execution_start", "execution_cached"]
    assert kinds(list(PromptMessages("p").end(RUN)))[0] == "execution_cached"


def test_a_second_attempt_starts_over() -> None:
    prompt, _ = translate(status(State.RUNNING), event(Cached([])), progress("3", 0, 1))

    again = [
        *prompt.translate(status(State.RUNNING)),
        *prompt.translate(event(Cached(["3"]))),
    ]

    assert kinds(again) == ["execution_start", "execution_cached"]
    assert prompt.nodes == {}


def test_failures_and_cancellations_have_their_own_messages() -> None:
    failure = Failure(
        "m",
        node_id="3",
        node_type="K",
        exception_type="ValueError",
        traceback=["t"],
        executed=["1"],
        current_inputs={"seed": [1]},
        current_outputs=["1", "2"],
    )
    failed = dataclasses.replace(
        RUN, state=State.FAILED, end_reason=EndReason.NODE_ERROR, failure=failure, node_results=None
    )
    cancelled = dataclasses.replace(
        RUN, state=State.CANCELLED, end_reason=EndReason.CANCELLED, failure=failure, node_results=None
    )

    error, interrupt = (
        PromptMessages("p", has_begun=True).end(failed),
        PromptMessages("p", has_begun=True).end(cancelled),
    )

    assert kinds(list(error)) == ["execution_error"]
    assert isinstance(error[0], Text)
    assert error[0].data | {"timestamp": 0} == {
        "prompt_id": "p",
        "timestamp": 0,
        "node_id": "3",
        "node_type": "K",
        "executed": ["1"],
        "exception_message": "m",
        "exception_type": "ValueError",
        "traceback": ["t"],
        "current_inputs": {"seed": [1]},
        "current_outputs": ["1", "2"],
    }
    assert kinds(list(interrupt)) == ["execution_interrupted"]


def test_previews_in_both_binary_forms() -> None:
    image = "data:image/png;base64," + base64.b64encode(b"png").decode()
    _, messages = translate(progress("3", 0, 1), event(Preview(None, image)))
    [picture] = [message for message in messages if isinstance(message, Picture)]

    assert picture.encode(with_metadata=False) == struct.pack(">II", 1, 2) + b"png"
    encoded = picture.encode(with_metadata=True)
    kind, length = struct.unpack_from(">II", encoded)
    about = json.loads(encoded[8 : 8 + length])
    assert (kind, encoded[8 + length :]) == (4, b"png")
    assert about == {
        "node_id": "3",
        "display_node_id": "3",
        "parent_node_id": None,
        "real_node_id": "3",
        "prompt_id": "p",
        "image_type": "image/png",
    }
