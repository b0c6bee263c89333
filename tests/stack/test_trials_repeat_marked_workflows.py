"""A revision that is tried repeats the last good run of each marked workflow; what it makes decides with its trial."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable
from typing import Any

import blake3
import pytest
from PIL import Image

from tests.attacks.environment_lab import Lab
from tests.attacks.raw_worker import RawWorker, graph_of
from tests.stack.conftest import StartFake
from tests.stack.stack import END_TIMEOUT_S, Stack
from tests.stack.waiting import until

RED, NEARLY_RED, BLUE = (200, 0, 0), (203, 1, 0), (0, 0, 200)


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none")


@pytest.fixture
def lab(stack: Stack) -> Lab:
    return Lab(stack)


def picture(colour: tuple[int, int, int]) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(written, "PNG")
    return written.getvalue()


def end(worker: RawWorker, held: dict[str, Any], *colours: tuple[int, int, int], **more: Any) -> None:
    """The worker ends a run, which made pictures of one colour each."""
    outputs = []
    for number, data in enumerate(map(picture, colours)):
        digest, name = blake3.blake3(data).hexdigest(), f"{number}.png"
        offer = {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        assert worker.call("PUT", f"outputs/{digest}", held["lease"], content=data).status_code == 204
        assert worker.call("POST", f"outputs/{digest}/stored", held["lease"], json=offer).status_code == 204
        about = {"digest": digest, "size": len(data), "content_type": "image/png", "node_id": "1"}
        outputs.append({"name": name, **about})
    assert worker.end(held["lease"], outputs=outputs, **more).status_code == 204


def next_run(worker: RawWorker, *ready: str) -> dict[str, Any]:
    """The next run that the worker gets."""
    deadline = time.monotonic() + END_TIMEOUT_S
    while (answer := worker.ask(wait_s=2, ready=list(ready))).status_code != 200:
        assert time.monotonic() < deadline, answer.text
        worker.heartbeat()
    return dict(answer.json())


def newest_once(lab: Lab, worker: RawWorker, is_met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The newest revision once it meets a condition; the worker stays present."""

    def look() -> dict[str, Any]:
        worker.heartbeat()
        return dict(lab.shown()["revisions"][0])

    return until(is_met, look)


def rehearsed(lab: Lab, worker: RawWorker) -> dict[str, Any]:
    """The only rehearsal of the newest revision, once it has ended."""
    newest = newest_once(lab, worker, lambda shown: shown["rehearsals"][0]["state"] not in ("waiting", "running"))
    (only,) = newest["rehearsals"]
    return {**only, "revision_state": newest["state"]}


def mark(lab: Lab, **more: Any) -> str:
    """A marked workflow of the lab's environment."""
    body = {"name": "My lighthouse", "environment": lab.name, "accelerator": lab.name, "in_trials": True, **more}
    answer = lab.client.http.post("/api/v1/workflows", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["in_trials"] is True
    return str(answer.json()["id"])


def prepared(lab: Lab) -> tuple[RawWorker, str, str]:
    """A worker, the digest of the current revision, and a marked workflow whose last run made a red picture."""
    worker, digest = lab.worker(), lab.revision("1")
    lab.has_ready(worker, digest, "Paint")
    assert lab.post("promote").status_code == 200
    workflow = mark(lab)
    run_id = lab.client.post_run({"prompt": graph_of("Paint")}, workflow).json()["id"]
    end(worker, next_run(worker, digest), RED)
    assert lab.client.finish(run_id)["status"] == "COMPLETED"
    return worker, digest, workflow


def tried(lab: Lab, worker: RawWorker, tree: str, *ready: str, classes: tuple[str, ...] = ("Paint",)) -> dict[str, Any]:
    """The run that the trial of the next revision makes."""
    digest = lab.revision(tree)
    assert lab.post("try").status_code == 200
    lab.has_ready(worker, digest, *classes)
    held = next_run(worker, *ready, digest)
    assert held["environment"] == digest
    return held


def test_the_same_picture_lets_a_revision_become_current(lab: Lab) -> None:
    worker, first, workflow = prepared(lab)
    held = tried(lab, worker, "2", first)
    assert lab.client.get(held["run_id"])["tags"] == [f"trial of {lab.name}@2"]
    assert newest_once(lab, worker, lambda shown: shown["rehearsals"][0]["state"] == "running")["state"] == "trying"
    refused = lab.post("promote")
    assert refused.status_code == 409
    assert "The workflow 'My lighthouse' of admin has not been repeated in it yet." in refused.json()["message"]

    end(worker, held, NEARLY_RED)

    told = rehearsed(lab, worker)
    assert (told["workflow"], told["state"], told["revision_state"]) == (workflow, "same", "ready")
    assert told["difference"] == pytest.approx((3 + 1) / 255 / 4)
    assert (told["run"], told["former_run"] != told["run"]) == (held["run_id"], True)
    assert lab.post("promote").json()["current"] == 2


def test_another_picture_fails_the_trial(lab: Lab) -> None:
    worker, first, workflow = prepared(lab)

    end(worker, tried(lab, worker, "2", first), BLUE)

    told = rehearsed(lab, worker)
    assert (told["state"], told["revision_state"]) == ("different", "failed")
    assert told["message"] == "Its picture differs by 39% from the one before; up to 5% is the same."
    refused = lab.post("promote")
    assert refused.status_code == 409
    assert "'My lighthouse' of admin gave something else: Its picture differs by 39%" in refused.json()["message"]
    page = lab.stack.visitor().get(f"/environments/{lab.name}").text
    assert "&#39;My lighthouse&#39; of admin gave something else: Its picture differs by 39%" in page
    assert "Promote without a trial" in page
    assert lab.shown()["current"] == 1
    changed = lab.client.http.patch(f"/api/v1/workflows/{workflow}", json={"in_trials": False})
    assert changed.json()["in_trials"] is False
    assert lab.post("promote").json()["current"] == 2


def test_a_revision_is_tried_again_until_its_runs_are_as_before(lab: Lab) -> None:
    worker, first, _ = prepared(lab)
    end(worker, tried(lab, worker, "2", first), RED, RED)
    told = rehearsed(lab, worker)
    assert told["message"] == "It made 2 files of image/png, where the run before made 1 file of image/png."
    second = lab.shown()["revisions"][0]["digest"]

    assert lab.post("try").status_code == 200
    lab.has_ready(worker, second, "Paint")
    failure = {"message": "No such sampler.", "node_id": "1", "node_type": "Paint"}
    end(worker, next_run(worker, first, second), reason="node_error", failure=failure)
    told = rehearsed(lab, worker)
    assert (told["state"], told["message"]) == ("failed", "No such sampler.")

    assert lab.post("try").status_code == 200
    lab.has_ready(worker, second, "Paint")
    end(worker, next_run(worker, first, second), RED)
    assert rehearsed(lab, worker)["state"] == "same"
    assert lab.post("rollback").status_code == 409
    assert lab.post("promote").json()["current"] == 2
    assert lab.post("rollback").json()["current"] == 1


def test_a_workflow_whose_class_is_gone_fails_the_trial(lab: Lab) -> None:
    worker, _, _ = prepared(lab)
    digest = lab.revision("2")
    assert lab.post("try").status_code == 200

    lab.has_ready(worker, digest, "Draw")

    told = rehearsed(lab, worker)
    assert (told["state"], told["revision_state"], told["run"]) == ("failed", "failed", None)
    assert told["message"].startswith("It is refused: ")
    assert "Paint" in told["message"]


def test_what_cannot_be_repeated_is_skipped_with_the_reason(lab: Lab) -> None:
    worker, digest = lab.worker(), lab.revision("1")
    mark(lab)
    assert lab.post("try").status_code == 200

    lab.has_ready(worker, digest, "Paint")

    told = rehearsed(lab, worker)
    assert (told["state"], told["message"]) == ("skipped", "No run of it has succeeded yet.")
    assert lab.post("promote").json()["current"] == 1


def test_a_clean_trial_promotes_itself_where_that_is_set(lab: Lab) -> None:
    worker, first, _ = prepared(lab)
    changed = lab.client.http.patch(f"/api/v1/environments/{lab.name}", json={"auto_promote": True})
    assert changed.json()["auto_promote"] is True
    held = tried(lab, worker, "2", first)
    assert newest_once(lab, worker, lambda shown: shown["rehearsals"][0]["state"] == "running")["is_current"] is False

    end(worker, held, RED)

    assert newest_once(lab, worker, lambda shown: shown["is_current"])["number"] == 2
    second = lab.shown()["revisions"][0]["digest"]
    end(worker, tried(lab, worker, "3", first, second), BLUE)
    assert rehearsed(lab, worker)["state"] == "different"
    assert lab.shown()["current"] == 2
