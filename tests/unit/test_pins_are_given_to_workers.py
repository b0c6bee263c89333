"""Each pin is given to as many workers of its pool as it wants and have room, and stays where it is."""

from comfyward.dispatch.pinning import HostMemory, assigned
from comfyward.store.model_pins import ModelPin
from comfyward.worker.protocol import ModelInMemory


def pin(name: str, size: int | None = 4, workers: int = 1, pool: str = "L40S", workflow: str = "") -> ModelPin:
    return ModelPin(f"{name}{workflow}", "admin", pool, f"/models/unet/{name}", "", size, workers, workflow, 0)


def memory(name: str, *kept: str, limit: int = 10, pool: str = "L40S") -> HostMemory:
    return HostMemory(
        name, pool, "host", limit, {each: ModelInMemory(each, f"/models/unet/{each}", 4, 4) for each in kept}
    )


def given(pins: list[ModelPin], memories: list[HostMemory]) -> dict[str, set[str]]:
    found = assigned(pins, memories)
    return {each.id: {worker for worker, own in found.pins.items() if each in own} for each in pins}


def test_a_pin_goes_to_as_many_workers_of_its_pool_as_it_wants() -> None:
    memories = [*(memory(f"w{number}") for number in range(4)), memory("other", pool="L4"), memory("off", limit=0)]

    (two,) = given([pin("a", workers=2)], memories).values()

    assert len(two) == 2
    assert two < {"w0", "w1", "w2", "w3"}


def test_a_pin_stays_with_the_workers_that_have_it_when_others_come() -> None:
    assert given([pin("a")], [memory("new"), memory("newer"), memory("has", "a"), memory("newest")]) == {"a": {"has"}}


def test_a_worker_that_leaves_is_replaced_and_no_other_pin_moves() -> None:
    memories, pins = [memory(f"w{number}") for number in range(6)], [pin(name) for name in "abcd"]
    before = given(pins, memories)

    (gone,) = before["a"]
    after = given(pins, [each for each in memories if each.id != gone])

    assert after["a"] != before["a"]
    assert {name: who for name, who in after.items() if before[name] != {gone}} == {
        name: who for name, who in before.items() if who != {gone}
    }


def test_earlier_pins_have_the_room_and_later_ones_say_what_is_missing() -> None:
    pins = [pin("a", workers=2), pin("b", workers=2), pin("c", workers=2)]

    found = assigned(pins, [memory("one"), memory("two", limit=8)])

    assert {worker: [each.id for each in own] for worker, own in found.pins.items()} == {
        "one": ["a", "b"],
        "two": ["a", "b"],
    }
    assert found.missing == {"c": 2}


def test_a_model_that_is_pinned_for_two_workflows_counts_once() -> None:
    pins = [pin("a", size=6, workflow="v"), pin("a", size=6, workflow="w"), pin("b", size=4)]

    assert assigned(pins, [memory("one")]).missing == {}


def test_a_size_that_only_workers_know_is_theirs() -> None:
    found = assigned([pin("a", size=None), pin("b", size=7)], [memory("one", "a")])

    assert found.missing == {"b": 1}
