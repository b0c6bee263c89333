"""Subscribers of a run or an account get its events; a slow one misses progress and nothing else."""

from __future__ import annotations

import dataclasses

import pytest

from comfyward.delivery.hub import MAX_BEHIND, MAX_HELD_BYTES, Hub
from comfyward.dispatch.secrets import Secrets, without_secrets
from comfyward.runs.change import RunEnded, RunStarted
from comfyward.runs.event import Download, Event, EventType, NodeResult, Payload, Preview, Progress, Status
from comfyward.runs.run import PublicStatus, Run, State
from comfyward.store.notices import NoOthers, SecretsFound, SecretsGone, SecretsKept, SecretsWanted
from tests.fakes.notices import Wire


def event(payload: Payload, run: str = "run") -> Event:
    return Event(run, "account", payload)


def progress(node: str, run: str = "run") -> Event:
    return event(Progress(node, 0, 1, 0, 1, 0.0), run)


def a_run(run_id: str) -> Run:
    return Run(**{**dict.fromkeys(field.name for field in dataclasses.fields(Run)), "id": run_id})


def last(run: str = "run") -> Event:
    return event(Status(PublicStatus.COMPLETED, State.SUCCEEDED, None), run)


async def test_by_run_and_by_account() -> None:
    hub = Hub(NoOthers())
    with hub.listen("run") as of_run, hub.listen("account") as of_account, hub.listen("other") as other:
        hub.publish([progress("1"), progress("2", "second")])

        assert await of_run.all(1) == [progress("1")]
        assert await of_account.all(1) == [progress("1"), progress("2", "second")]
        with pytest.raises(TimeoutError):
            await other.next(0.01)


async def test_a_slow_listener_misses_progress_but_no_result_and_no_status() -> None:
    hub = Hub(NoOthers())
    preview = event(Preview(None, "data:image/png;base64,"))
    with hub.listen("run") as listener:
        hub.publish([progress(str(number)) for number in range(MAX_BEHIND + 50)])
        hub.publish([preview, event(NodeResult("9", "9", {})), last()])

        heard = await listener.all(1)

    assert len(heard) == MAX_BEHIND + 2
    assert [each.type for each in heard[-2:]] == [EventType.SHOWN, EventType.STATUS]


async def test_late_subscribers_get_the_newest_progress_until_the_run_ends() -> None:
    hub = Hub(NoOthers())
    hub.publish([progress("1"), progress("2"), event(Download("/a", 0, None)), event(Download("/b", 0, None))])

    assert hub.newest("run") == [progress("2"), event(Download("/a", 0, None)), event(Download("/b", 0, None))]
    hub.publish([last()])
    assert hub.newest("run") == []


async def test_closing_the_hub_ends_all_subscriptions() -> None:
    hub = Hub(NoOthers())
    with hub.listen("run") as one, hub.listen("account") as two:
        hub.publish([progress("1")])
        hub.close()

        assert len(await one.all(1)) == 1
        assert await one.all(1) == []
        assert len(await two.all(1)) == 1


async def test_secrets_are_kept_until_their_run_is_over() -> None:
    secrets, came = Secrets(NoOthers()), dataclasses.replace(a_run("run"), has_secrets=1)
    rest, found = without_secrets({"api_key_comfy_org": "k", "auth_token_comfy_org": "t", "kept": 1})
    await secrets.keep("run", found)

    assert (rest, found) == ({"kept": 1}, {"api_key_comfy_org": "k", "auth_token_comfy_org": "t"})
    assert without_secrets({"api_key_comfy_org": "k"})[0] is None
    assert without_secrets(None) == (None, {})
    assert await secrets.of(came) == found
    secrets.on_changes([RunStarted(a_run("run"), []), RunEnded(a_run("another"), [])])
    assert await secrets.of(came) == found
    secrets.on_changes([RunEnded(a_run("run"), [])])
    assert await secrets.of(came) == {}


async def test_the_other_servers_forget_secrets_too() -> None:
    other_wire = Wire()
    wire = Wire(other_wire)
    secrets, elsewhere, came = Secrets(wire), Secrets(other_wire), dataclasses.replace(a_run("run"), has_secrets=1)
    await secrets.keep("run", {"api_key_comfy_org": "k"})
    assert await elsewhere.of(came) == {"api_key_comfy_org": "k"}

    secrets.on_changes([RunEnded(a_run("run"), [])])
    secrets.on_changes([RunEnded(a_run("another"), [])])  # which came without any

    assert wire.sent == [SecretsKept("run", {"api_key_comfy_org": "k"}), SecretsGone("run")]
    assert await elsewhere.of(came) == {}


async def test_secrets_that_are_late_are_asked_for() -> None:
    wire = Wire()
    other_wire = Wire(wire)
    secrets, elsewhere = Secrets(wire), Secrets(other_wire)
    came, without = dataclasses.replace(a_run("run"), has_secrets=1), dataclasses.replace(a_run("other"), has_secrets=0)
    await secrets.keep("run", {"api_key_comfy_org": "k"})  # its notice is still on its way
    wire._other = other_wire

    assert await elsewhere.of(came) == {"api_key_comfy_org": "k"}
    assert await elsewhere.of(without) == {}
    assert other_wire.sent == [SecretsWanted("run")]
    assert wire.sent[1:] == [SecretsFound("run", {"api_key_comfy_org": "k"})]


async def test_an_answer_that_comes_after_the_end_of_its_run_is_not_kept() -> None:
    wire = Wire()
    secrets = Secrets(wire)

    wire.receive(SecretsFound("run", {"api_key_comfy_org": "k"}))

    assert await secrets.of(a_run("run")) == {}


async def test_a_run_whose_secrets_no_server_has_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfyward.dispatch.secrets.WAIT_S", 0.01)
    wire = Wire(Wire())

    assert await Secrets(wire).of(dataclasses.replace(a_run("run"), has_secrets=1)) == {}


async def test_a_listener_that_reads_nothing_holds_no_more_than_its_share() -> None:
    """Previews are dropped; of what comes once, none is: the subscription ends, and the next one reads the rows."""
    hub, picture = Hub(NoOthers()), "data:image/png;base64," + "A" * 100_000
    with hub.listen("account") as listener:
        hub.publish([event(Preview(None, picture), f"run {number}") for number in range(1000)])

        assert MAX_HELD_BYTES / 2 < listener.held_bytes <= MAX_HELD_BYTES

        hub.publish([event(NodeResult("9", "9", {"text": picture}), f"run {number}") for number in range(1000)])

        assert listener.held_bytes == 0
        assert await listener.all(1) == []


async def test_a_listener_that_reads_gets_results_of_any_size() -> None:
    hub, large = Hub(NoOthers()), event(NodeResult("9", "9", "A" * 2 * MAX_HELD_BYTES))
    with hub.listen("run") as listener:
        for _ in range(3):
            hub.publish([large])
            assert await listener.all(1) == [large]
