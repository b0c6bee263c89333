"""An admin pins models to the memory of workers: read there, kept there over restarts, listed, and removed again."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from comfyward.files import page_cache
from tests.api_words import api_words_in
from tests.cold_files import cold, cooled
from tests.command_line import comfyward
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack
from tests.stack.waiting import until

MIB = 1 << 20
# The first is what the fake ComfyUI offers.
KEPT, LARGE, OWN = "house.safetensors", "large.pt", "mine.pt"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    cold(folder / "checkpoints" / KEPT, 3 * MIB)
    return folder


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake, models: Path) -> Stack:
    return start_fake_once(model_dirs=str(models), model_memory="6MiB").wait_ready()


def pin(client: Client, **wanted: Any) -> tuple[int, Any]:
    """The status and the answer of a request for a pin."""
    answer = client.http.post("/api/v1/model-pins", json={"accelerator": "CPU", **wanted})
    return answer.status_code, answer.json()


def pins(client: Client) -> list[dict[str, Any]]:
    return list(client.http.get("/api/v1/model-pins").json())


def command(client: Client, *arguments: str) -> str:
    """The output of a command on models, with the client's key."""
    connection = {"COMFYWARD_URL": str(client.http.base_url), "COMFYWARD_API_KEY": client.key}
    done = comfyward("models", *arguments, environment={**os.environ, **connection})
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_in_memory(client: Client, model: str) -> dict[str, Any]:
    def look() -> list[dict[str, Any]]:
        found = client.http.get("/api/v1/model-memory").json()
        return [each for worker in found for each in worker["models"] if each["model"] == model]

    # What the kernel takes back is read again.
    (seen,) = until(lambda seen: bool(seen and seen[0]["since"] and seen[0]["resident"] == seen[0]["size"]), look)
    return seen


def test_a_pinned_model_is_in_memory_before_any_run_and_after_restarts(stack: Stack, models: Path) -> None:
    client, file = stack.client(), cooled(models / "checkpoints" / KEPT)

    status, pinned = pin(client, model=f"checkpoints/{KEPT}")

    assert status == 200, pinned
    assert (pinned[0]["model"], pinned[0]["accelerator"], pinned[0]["workers"]) == (f"checkpoints/{KEPT}", "CPU", 1)
    assert is_in_memory(client, f"checkpoints/{KEPT}") | {"since": ""} == {
        "model": f"checkpoints/{KEPT}",
        "size": 3 * MIB,
        "resident": 3 * MIB,
        "since": "",
        "pinned": True,
        "problem": None,
    }
    until(lambda resident: resident == 3 * MIB, lambda: page_cache.resident_bytes(file))

    stack.stop()
    cooled(file)
    stack.start().wait_ready()
    until(lambda resident: resident == 3 * MIB, lambda: page_cache.resident_bytes(file))
    again = stack.client()
    until(lambda found: [each["resident"] for each in found[0]["held_by"]] == [3 * MIB], lambda: pins(again))


def test_a_pin_that_does_not_fit_is_refused_with_numbers_and_changes_nothing(stack: Stack) -> None:
    client = stack.client()
    path = {"path": f"/models/vae/{LARGE}"}
    client.http.post("/api/v1/files", params=path, content=os.urandom(4 * MIB)).raise_for_status()
    pin(client, model=f"checkpoints/{KEPT}")
    is_in_memory(client, f"checkpoints/{KEPT}")
    before = [each["id"] for each in pins(client)]

    status, refused = pin(client, model=f"vae/{LARGE}")

    assert status == 409
    assert "'vae/large.pt' (4.2 MB) fits on 0 workers of CPU, not on 1:" in json.dumps(refused)
    assert "keeps 6.3 MB, of which 3.1 MB are pinned" in json.dumps(refused)
    assert [each["id"] for each in pins(client)] == before


def test_what_cannot_be_pinned_is_said(stack: Stack) -> None:
    client = stack.client()

    answers = {
        "model": pin(client, model="vae/absent.safetensors"),
        "pool": pin(client, model=f"checkpoints/{KEPT}", accelerator="H999"),
        "both": pin(client, model="a/b", workflow="w"),
        "none": pin(client),
        "workflow": pin(client, workflow="absent"),
    }

    assert {name: status for name, (status, _) in answers.items()} == {
        "model": 404,
        "pool": 422,
        "both": 400,
        "none": 400,
        "workflow": 404,
    }
    assert "There is no model 'vae/absent.safetensors'" in json.dumps(answers["model"])
    assert client.http.delete("/api/v1/model-pins/absent").status_code == 404


def test_members_see_and_change_nothing_of_it(stack: Stack) -> None:
    member = stack.client("member-of-pins")

    answers = [
        member.http.get("/api/v1/model-pins"),
        member.http.get("/api/v1/model-memory"),
        member.http.post("/api/v1/model-pins", json={"model": f"checkpoints/{KEPT}", "accelerator": "CPU"}),
        member.http.delete(f"/api/v1/model-pins/{(pins(stack.client()) or [{'id': 'x'}])[0]['id']}"),
    ]

    assert [answer.status_code for answer in answers] == [403] * 4
    assert not any("safetensors" in answer.text for answer in answers)


def test_the_models_of_a_workflow_are_pinned_together_and_an_upload_is_fetched_ahead_of_runs(stack: Stack) -> None:
    client = stack.client()
    for each in pins(client):
        client.http.delete(f"/api/v1/model-pins/{each['id']}").raise_for_status()
    path = {"path": f"/models/checkpoints/{OWN}"}
    client.http.post("/api/v1/files", params=path, content=os.urandom(2 * MIB)).raise_for_status()
    workflow = client.http.post("/api/v1/workflows", json={"name": "pins", "prompt": fake_save(OWN)}).json()["id"]

    said = command(client, "pin", "--workflow", workflow, "--accelerator", "CPU")

    assert said == "Pinned checkpoints/mine.pt (2.1 MB) on 1 worker of CPU.\n"
    assert is_in_memory(client, f"checkpoints/{OWN}") | {"since": ""} == {
        "model": f"checkpoints/{OWN}",
        "size": 2 * MIB,
        "resident": 2 * MIB,
        "since": "",
        "pinned": True,
        "problem": None,
    }
    assert client.run(fake_save(OWN))["status"] == "COMPLETED"
    until(lambda said: "1 of 1" in said, lambda: command(client, "pins"))
    assert "checkpoints/mine.pt" in command(client, "memory")

    (only,) = pins(client)
    command(client, "unpin", only["id"])
    assert pins(client) == []


def test_admins_pin_on_the_fleets_page(stack: Stack) -> None:
    client, admin = stack.client(), stack.visitor()
    for each in pins(client):
        client.http.delete(f"/api/v1/model-pins/{each['id']}").raise_for_status()

    wanted = {"model": f"checkpoints/{KEPT}", "pool": "CPU", "workers": "1"}
    assert admin.post("/fleet/memory/pins", data=wanted).status_code == 303

    page = until(lambda text: "all of it" in text, lambda: admin.get("/fleet/memory").text)
    assert f"<strong>checkpoints/{KEPT}</strong>" in page.replace("<wbr>", "")
    fleet = until(lambda text: ", pinned" in text, lambda: admin.get("/fleet").text)
    assert f"/models/checkpoints/{KEPT}" in fleet
    refused = admin.post("/fleet/memory/pins", data={**wanted, "model": "vae/absent.safetensors"})
    assert refused.status_code == 404
    assert "There is no model &#39;vae/absent.safetensors&#39;. Name it as the page Models does" in refused.text
    assert api_words_in(refused.text) == []
    assert admin.post(f"/fleet/memory/pins/{pins(client)[0]['id']}/delete").status_code == 303
    assert "No models are pinned." in admin.get("/fleet/memory").text
