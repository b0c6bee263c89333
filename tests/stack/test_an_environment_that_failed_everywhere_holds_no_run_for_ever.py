"""Runs of an environment that failed at every worker say so while they wait, and end; new ones are refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.environment_lab import Lab, orders, report
from tests.attacks.raw_worker import RawWorker
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack
from tests.stack.waiting import until

BROKEN = "broken did not import: No module named 'x' (/srv/hosts/one/packs/broken/inner.py, line 2)"
TOLD = "broken did not import: No module named 'x' (inner.py, line 2)"


@pytest.fixture(scope="module")
def patient(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none", environment_mend_s="3600")


@pytest.fixture(scope="module")
def impatient(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none", environment_mend_s="0")


def promoted(lab: Lab, tree: str, *workers: RawWorker) -> str:
    """A revision that is current, and ready on some workers."""
    digest = lab.revision(tree)
    for worker in workers:
        lab.has_ready(worker, digest, "Paint")
    assert lab.post("promote").status_code == 200
    return digest


def failed(lab: Lab, worker: RawWorker, digest: str) -> None:
    assert lab.tried(worker, digest, ready=False, message=BROKEN).status_code == 204
    assert report(worker, digest, "failed", message=BROKEN).status_code == 200


@pytest.mark.several_servers
def test_a_run_tells_why_it_waits_and_goes_on_once_an_admin_has_mended_that(patient: Stack) -> None:
    lab = Lab(patient)
    one, two = lab.worker(), lab.worker()
    digest = promoted(lab, "1", one, two)
    run_id = lab.submit(lab.name).json()["id"]
    failed(lab, one, digest)
    assert lab.submit(lab.name).status_code == 200  # the other worker has it
    failed(lab, two, digest)

    def placement() -> dict[str, Any]:
        return dict(lab.client.http.get(f"/api/v1/runs/{run_id}/placement").json())

    waits = until(lambda found: TOLD in found["reason"], placement)
    assert (waits["waits_for"], waits["state"]) == ("environment", "queued")
    sentence = f"{lab.name}@1 has failed at every worker of pool {lab.name}: {TOLD}"
    assert waits["reason"] == f"{sentence} If nobody mends that, the run ends."
    refused = until(lambda found: "message" in found, lambda: lab.submit(lab.name).json())
    assert (refused["code"], refused["message"]) == ("invalid_environment", sentence)
    assert lab.post("try").status_code == 200
    until(lambda ordered: ordered == [digest], lambda: orders(two))
    lab.has_ready(two, digest, "Paint")
    assert two.ask(ready=[digest]).json()["run_id"] == run_id


def test_runs_that_nobody_mends_end_with_the_reason(impatient: Stack) -> None:
    lab = Lab(impatient)
    worker = lab.worker()
    digest = promoted(lab, "1", worker)
    runs = [lab.submit(environment).json()["id"] for environment in (lab.name, f"{lab.name}@1")]

    failed(lab, worker, digest)

    for run in map(lab.client.finish, runs):
        assert (run["status"], run["end_reason"]) == ("ERROR", "validation")
        assert run["error"]["message"] == f"{lab.name}@1 has failed at every worker of pool {lab.name}: {TOLD}"
        assert "tell an admin" in run["error"]["hint"]


def test_pinned_runs_that_wait_keep_no_others_from_the_next_revision(patient: Stack) -> None:
    lab = Lab(patient)
    first = lab.worker()
    old = promoted(lab, "1", first)
    pinned = [lab.submit(f"{lab.name}@1").json()["id"] for _ in range(55)]
    follows = lab.submit(lab.name).json()["id"]
    second = lab.worker()
    new = lab.revision("2")
    lab.has_ready(second, new, "Paint")
    assert lab.post("promote").status_code == 200
    for worker in (first, second):
        failed(lab, worker, old)

    until(lambda run: run["environment_revision"] == 2, lambda: lab.client.get(follows))
    assert second.ask(ready=[new]).json()["run_id"] == follows
    assert {lab.client.get(run_id)["status"] for run_id in pinned} == {"QUEUED"}


def test_a_run_for_which_no_worker_of_its_pool_can_have_an_environment_ends(impatient: Stack) -> None:
    lab = Lab(impatient)
    leaving = lab.worker()
    promoted(lab, "1", leaving)
    run_id = lab.submit(lab.name).json()["id"]
    lab.worker(target="another/py3.99")

    assert leaving.goodbye().status_code == 204

    run = lab.client.finish(run_id)
    assert run["end_reason"] == "validation"
    told = f"No worker of pool {lab.name} can have '{lab.name}@1': it is locked for {lab.target}."
    assert run["error"]["message"] == told
