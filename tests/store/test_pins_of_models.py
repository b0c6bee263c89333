"""Pins of models: stored once for each model, pool and workflow, and found in the order in which they were made."""

from dataclasses import replace

import pytest

from comfyward.errors import NotFound
from comfyward.store import model_pins
from comfyward.store.model_pins import ModelPin
from tests.store.conftest import Store

PIN = ModelPin("first", "admin", "L40S", "/models/unet/flux.safetensors", "d" * 64, 5 << 32, 2, "", 1)


def test_a_pin_takes_the_place_of_that_of_its_model_pool_and_workflow(store: Store) -> None:
    others = [
        replace(PIN, id="pool", pool="L4", created_at=2),
        replace(PIN, id="model", path="/models/vae/ae.safetensors", digest="", size=None, created_at=3),
        replace(PIN, id="workflow", workflow_id="w", created_at=4),
    ]
    for pin in (PIN, *others):
        store.write(model_pins.put, pin)

    again = replace(PIN, id="again", workers=1, created_at=5)
    store.write(model_pins.put, again)

    assert store.read(model_pins.find) == [others[0], others[1], others[2], again]


def test_a_pin_is_removed_once(store: Store) -> None:
    store.write(model_pins.put, PIN)

    store.write(model_pins.remove, PIN.id)

    assert store.read(model_pins.find) == []
    with pytest.raises(NotFound):
        store.write(model_pins.remove, PIN.id)
