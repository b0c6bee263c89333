"""Clients of ComfyICU name its GPUs. A machine with one pool of its own runs them there, and says so."""

from __future__ import annotations

import pytest

from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Stack

NAMES = ("T4", "L4", "L40S", "A10", "A100", "A100_40GB", "A100_80GB", "H100")


def test_every_name_of_comfyicu_runs_on_the_only_pool(shared: Stack) -> None:
    client = shared.client("stand-in")

    for name in NAMES:
        run = client.run(fake_save(), accelerator=name)
        assert (run["status"], run["accelerator"], run["pool"]) == ("COMPLETED", name, "CPU")
        assert run["device"]

    [pool] = client.http.get("/api/v1/accelerators").json()
    assert (pool["name"], pool["stands_in_for"]) == ("CPU", list(NAMES))
    unknown = client.post_run({"prompt": fake_save(), "accelerator": "B9000"})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_accelerator")
    used = client.http.get("/api/v1/usage?by=accelerator").json()["rows"]
    assert {row["accelerator"] for row in used} <= {"CPU"}


@pytest.mark.parametrize(
    "settings", [{"accelerators": "RTX_4090"}, {"stand_in": "false"}, {"fleet": "none", "accelerators": "RTX_4090"}]
)
def test_no_pool_stands_in_when_there_are_several_or_it_is_disabled(
    start_fake: StartFake, settings: dict[str, str]
) -> None:
    client = start_fake(**settings).client()

    refused = client.post_run({"prompt": fake_save(), "accelerator": "H100"})

    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_accelerator")
    pools = [pool["name"] for pool in client.http.get("/api/v1/accelerators").json()]
    assert refused.json()["details"]["available"] == pools
