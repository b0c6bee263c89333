"""An event has one JSON: in its row, between servers and to clients. Rows of earlier versions are read as they are."""

from __future__ import annotations

import msgspec
import pytest

from comfyward.delivery.stream import frame
from comfyward.runs.event import (
    Cached,
    Cancelling,
    Download,
    Event,
    EventType,
    NodeResult,
    Payload,
    Preview,
    Progress,
    Staged,
    Status,
    read_payload,
)
from comfyward.runs.failure import Failure
from comfyward.runs.output import Output
from comfyward.runs.run import EndReason, PublicStatus, State
from comfyward.store.notices import RunEvents

REPORTED = (
    '{"message":"m","hint":"h","exception_type":"ValueError","node_id":"3","node_type":null,"traceback":["t"],'
    '"details":{"node_errors":{}},"executed":[],"current_inputs":{"seed":[1]},"current_outputs":[]}'
)
FAILURE = Failure("m", "h", "ValueError", "3", None, ["t"], {"node_errors": {}}, [], {"seed": [1]}, [])

EVENTS: dict[str, tuple[EventType, Payload]] = {
    '{"status":"QUEUED","state":"queued","end_reason":null}': (
        EventType.STATUS,
        Status(PublicStatus.QUEUED, State.QUEUED, None),
    ),
    '{"status":"INIT","state":"assigned","end_reason":null,"attempt":1,"device":"L4"}': (
        EventType.STATUS,
        Status(PublicStatus.INIT, State.ASSIGNED, None, 1, "L4"),
    ),
    '{"status":"ERROR","state":"cancelled","end_reason":"cancelled","failure":{"message":"m","hint":null}}': (
        EventType.STATUS,
        Status(PublicStatus.ERROR, State.CANCELLED, EndReason.CANCELLED, failure=Failure("m")),
    ),
    f'{{"status":"ERROR","state":"failed","end_reason":"node_error","failure":{REPORTED}}}': (
        EventType.STATUS,
        Status(PublicStatus.ERROR, State.FAILED, EndReason.NODE_ERROR, failure=FAILURE),
    ),
    '{"id":"o","name":"a.png","digest":"d","size":1,"content_type":"image/png"}': (
        EventType.OUTPUT,
        Output("o", "a.png", "d", 1, "image/png"),
    ),
    '{"id":"o","name":"a","digest":"d","size":1,"content_type":"t","node_id":"9","text":"x","streamed":true}': (
        EventType.OUTPUT,
        Output("o", "a", "d", 1, "t", "9", "x", streamed=True),
    ),
    '{"path":"/input/a","done":1,"total":null}': (EventType.DOWNLOAD, Download("/input/a", 1, None)),
    '{"node":"3","value":1.0,"max":4.0,"nodes_done":1,"nodes_total":2,"done":0.625}': (
        EventType.PROGRESS,
        Progress("3", 1.0, 4.0, 1, 2, 0.625),
    ),
    '{"node":"5.0","value":4.0,"max":4.0,"nodes_done":1,"nodes_total":2,"done":0.5,"finished":true,'
    '"display_node":"5","parent_node":"5","real_node":"5"}': (
        EventType.PROGRESS,
        Progress("5.0", 4.0, 4.0, 1, 2, 0.5, True, "5", "5", "5"),
    ),
    '{"node":null,"image":"data:image/png;base64,"}': (EventType.PREVIEW, Preview(None, "data:image/png;base64,")),
    '{"nodes":["1"]}': (EventType.CACHED, Cached(["1"])),
    '{"node":"9","display_node":"5","shown":{"text":["x"]}}': (EventType.SHOWN, NodeResult("9", "5", {"text": ["x"]})),
    "{}": (EventType.CANCELLING, Cancelling()),
}


def test_every_type_is_here() -> None:
    assert {kind for kind, _ in EVENTS.values()} | {EventType.STAGED} == set(EventType)
    assert msgspec.json.encode(Staged()) == b"{}"


@pytest.mark.parametrize(("text", "kind", "payload"), [(text, *event) for text, event in EVENTS.items()])
def test_an_event_has_one_json(text: str, kind: EventType, payload: Payload) -> None:
    event = Event("run", "account", payload, 7)

    assert (event.type, read_payload(kind, text)) == (kind, payload)
    assert frame(event.type, event.payload, 7).decode() == f"id: 7\nevent: {kind}\ndata: {text}\n\n"
    sent = msgspec.json.encode(RunEvents.of([event]))
    assert sent.decode() == (
        f'{{"type":"events","events":[{{"run_id":"run","account_id":"account","type":"{kind}","data":{text},"seq":7}}]}}'
    )
    assert [each.read() for each in msgspec.json.decode(sent, type=RunEvents).events] == [event]


def test_what_no_worker_reported_is_in_no_row() -> None:
    assert msgspec.json.encode(Failure("m")).decode() == '{"message":"m","hint":null}'
    assert not msgspec.json.decode(b'{"message":"m"}', type=Failure).traceback
    assert Failure("m").facts == {}
