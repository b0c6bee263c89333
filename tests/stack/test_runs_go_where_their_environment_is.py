"""Revisions are built and tried by workers that are asked to, promoted, rolled back; runs go where theirs is."""

from __future__ import annotations

from typing import Any

import pytest

from comfyward.store import workers
from comfyward.store.db import now_ms
from tests.attacks.environment_lab import Lab, orders, report
from tests.attacks.raw_worker import RawWorker
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack
from tests.stack.waiting import until


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none")


@pytest.fixture
def lab(stack: Stack) -> Lab:
    return Lab(stack)


def promoted(lab: Lab, tree: str, *classes: str) -> str:
    """A revision that is ready on a worker, and current."""
    digest = lab.revision(tree)
    lab.has_ready(lab.worker(), digest, *classes)
    answer = lab.post("promote")
    assert answer.status_code == 200, answer.text
    return digest


def until_ordered(worker: RawWorker, digests: list[str]) -> None:
    """Another server hears of a change a little later than the one that made it."""
    until(lambda ordered: ordered == digests, lambda: orders(worker))


@pytest.mark.several_servers
def test_a_worker_is_asked_to_try_a_revision_until_it_says_how_that_went(lab: Lab) -> None:
    digest, worker = lab.revision("1"), lab.worker()
    assert orders(worker) == []

    def shown_hosts() -> list[dict[str, Any]]:
        return list(lab.shown()["revisions"][0]["hosts"])

    assert lab.post("try").status_code == 200

    until_ordered(worker, [digest])
    assert worker.call("GET", f"environments/{digest}").json()["target"] == lab.target
    assert report(worker, digest, "building", step="Installing packages", part=0.5).status_code == 200
    told = [("building", "Installing packages", 0.5)]
    until(lambda hosts: [(each["state"], each["step"], each["part"]) for each in hosts] == told, shown_hosts)
    until_ordered(worker, [digest])
    assert lab.tried(worker, digest, ready=False, message="No module named 'x'").status_code == 204
    assert report(worker, digest, "failed", message="No module named 'x'").status_code == 200
    until_ordered(worker, [])
    until(lambda state: state == "failed", lambda: lab.shown()["revisions"][0]["state"])
    assert lab.post("try").status_code == 200  # again
    until_ordered(worker, [digest])


def test_a_revision_is_promoted_only_after_a_good_trial(lab: Lab) -> None:
    digest, worker = lab.revision("1"), lab.worker()

    assert f"No worker of {lab.target} has tried it." in lab.post("promote").json()["message"]
    assert report(worker, digest, "failed", message="No module named 'x'").status_code == 200
    refused = lab.post("promote")
    assert (refused.status_code, "No module named 'x'" in refused.json()["message"]) == (409, True)
    assert lab.shown()["current"] is None
    lab.has_ready(worker, digest, "Paint")
    assert lab.post("promote").json()["current"] == 1
    assert lab.shown()["revisions"][0]["state"] == "current"


@pytest.mark.several_servers
def test_a_run_is_bound_to_the_current_revision_and_goes_only_where_that_is_ready(lab: Lab) -> None:
    digest = lab.revision("1")
    ready = lab.worker()
    lab.has_ready(ready, digest, "Paint", "Crop")
    assert lab.post("promote").status_code == 200

    run_id = lab.submit(lab.name, "Crop").json()["id"]

    run = lab.client.get(run_id)
    assert (run["environment"], run["environment_revision"]) == (lab.name, 1)
    assert lab.worker().ask(wait_s=1).status_code == 204  # has only its own
    assigned = ready.ask(ready=[digest]).json()
    assert (assigned["run_id"], assigned["environment"]) == (run_id, digest)
    assert lab.submit("default").status_code == 200
    assert lab.worker().ask().json()["environment"] == "default"


def test_a_class_of_one_environment_is_refused_in_another(lab: Lab) -> None:
    one, two = f"{lab.name}-one", f"{lab.name}-two"
    digests = {one: lab.revision("1", one), two: lab.revision("1", two)}
    worker = lab.worker()
    for name, class_type in ((one, "Crop"), (two, "Blur")):
        lab.has_ready(worker, digests[name], class_type)
        assert lab.post("promote", environment=name).status_code == 200

    statuses = [lab.submit(name, each).status_code for name in (one, two, "default") for each in ("Crop", "Blur")]

    assert statuses == [200, 400, 400, 200, 400, 400]
    refused = lab.submit(one, "Blur")
    assert "Blur is not installed" in refused.json()["message"]
    info = lab.client.http.get(f"/workflows/{lab.workflow(two)}/comfy/object_info")
    assert list(info.json()) == ["Blur"]
    visitor, path = lab.stack.visitor(), f"/workflows/{lab.workflow(two)}/comfy/object_info"
    while not (of_a_page := visitor.get(path, headers={"Sec-Fetch-Mode": "cors"}, follow_redirects=True).json()):
        pass  # another server looks for new catalogs once a second
    assert list(of_a_page) == ["Blur"]
    nodes = lab.client.http.get("/api/v1/nodes", params={"environment": one})
    assert [each["name"] for each in nodes.json()] == ["Crop"]


def test_names_that_stand_for_nothing_are_refused_with_a_reason(lab: Lab) -> None:
    lab.revision("1")

    def refused(environment: str) -> str:
        answer = lab.client.http.post("/api/v1/workflows", json={"environment": environment})
        assert answer.status_code == 400
        return str(answer.json()["message"])

    assert refused("nobody-has-this") == "There is no environment 'nobody-has-this'."
    assert refused(f"{lab.name}@7") == f"There is no revision 7 of the environment '{lab.name}'."
    assert refused(f"{lab.name}@x") == f"'{lab.name}@x' is not a revision such as {lab.name}@3."
    lab.worker()
    answer = lab.submit(lab.name)
    assert answer.json()["message"] == f"The environment '{lab.name}' has no current revision yet."
    assert lab.submit(f"{lab.name}@1").json()["message"].startswith(f"No worker of pool {lab.name} has revision 1")


@pytest.mark.several_servers
def test_a_rollback_with_queued_and_running_runs_loses_nothing(lab: Lab) -> None:
    first, second = lab.revision("1"), lab.revision("2")
    worker = lab.worker()
    for number, digest in ((1, first), (2, second)):
        lab.has_ready(worker, digest, "Paint")
        assert lab.post("promote", revision=number).json()["current"] == number
    running, queued = (lab.submit(lab.name).json()["id"] for _ in range(2))
    held = worker.ask(ready=[first, second], environment=first).json()
    assert (held["run_id"], held["environment"]) == (running, second)

    assert lab.post("rollback").json()["current"] == 1

    after = lab.submit(lab.name).json()["id"]
    assert [lab.client.get(each)["environment_revision"] for each in (running, queued, after)] == [2, 2, 1]
    assert worker.end(held["lease"]).status_code == 204
    for expected, digest in ((queued, second), (after, first)):
        held = worker.ask(ready=[first, second], environment=second).json()
        assert (held["run_id"], held["environment"]) == (expected, digest)
        assert worker.end(held["lease"]).status_code == 204
    assert {lab.client.finish(each)["status"] for each in (running, queued, after)} == {"COMPLETED"}
    assert lab.post("rollback").status_code == 409


@pytest.mark.several_servers
def test_a_run_whose_environment_nobody_has_any_more_is_checked_again(lab: Lab) -> None:
    first = promoted(lab, "1", "Paint", "Crop")
    kept, lost = (lab.submit(lab.name, each).json()["id"] for each in ("Paint", "Crop"))
    second = lab.revision("2")
    newer = lab.worker()
    lab.has_ready(newer, second, "Paint")

    assert lab.post("promote").json()["current"] == 2
    assert lab.client.get(kept)["environment_revision"] == 1  # as long as a worker has it
    _dismissed(lab, first)

    ended = lab.client.finish(lost)
    assert (ended["status"], ended["end_reason"]) == ("ERROR", "missing_node")
    name = lab.name
    assert ended["error"]["message"] == f"The run needs the class Crop of {name}@1, which {name}@2 no longer has."
    held = newer.ask(ready=[second], environment=second).json()
    assert (held["run_id"], held["environment"]) == (kept, second)
    assert lab.client.get(kept)["environment_revision"] == 2


def _dismissed(lab: Lab, digest: str) -> None:
    """Ends the workers that have an environment."""
    for revision in lab.shown()["revisions"]:
        if revision["digest"] == digest:
            for host in revision["hosts"]:
                lab.stack.write(workers.leave, host["worker"], now_ms())


def test_a_promotion_without_a_trial_tells_which_pools_cannot_have_it(lab: Lab) -> None:
    digest, other = lab.revision("1"), f"{lab.name}-other"
    lab.worker(pool=other, target="another/py3.11")
    failing = lab.worker()
    assert report(failing, digest, "failed", message="No module named 'x'").status_code == 200

    promoted = lab.post("promote", without_trial=True).json()

    failed = f"No worker of pool {lab.name} can have {lab.name}@1: it failed there. No module named 'x'"
    locked = f"No worker of pool {other} can have {lab.name}@1: it is locked for {lab.target}."
    assert promoted["current"] == 1
    assert {failed, locked} <= set(promoted["warnings"])
    lab.has_ready(lab.worker(), digest, "Paint")
    assert failed not in lab.post("promote", without_trial=True).json()["warnings"]


def test_an_environment_of_other_hosts_is_shown_too(lab: Lab) -> None:
    lab.revision("1")

    assert f"{lab.name}@1" in lab.stack.cli("environments", "show", lab.name)


def test_members_see_names_and_choose_and_change_nothing(lab: Lab) -> None:
    promoted(lab, "1", "Paint")
    member = lab.stack.client(f"member of {lab.name}")
    url = f"/api/v1/environments/{lab.name}"

    assert member.http.get(url).json() == {"name": lab.name, "current": 1}
    assert {"name": lab.name, "current": 1} in member.http.get("/api/v1/environments").json()
    workflow = member.http.post("/api/v1/workflows", json={"environment": f"{lab.name}@1"})
    assert workflow.json()["environment"] == f"{lab.name}@1"
    answers = [lab.post(action, member) for action in ("try", "promote", "rollback")]
    answers += [member.http.delete(url), member.http.patch(url, json={"spec": "comfyui = '1'"})]
    answers += [member.http.get(f"{url}/revisions/1"), member.http.get(f"{url}/revisions/1/picture")]
    answers.append(member.http.post("/api/v1/environments", json={"name": "mine", "spec": "comfyui = '0.30.0'"}))
    assert [each.status_code for each in answers] == [403] * len(answers)


def test_comfyuis_queue_and_history_know_the_nodes_of_a_runs_environment(lab: Lab) -> None:
    worker, digest = lab.worker(), lab.revision("1")
    lab.has_ready(worker, digest, "OnlyHere")
    assert lab.post("promote").status_code == 200
    run_id = lab.submit(lab.name, "OnlyHere").json()["id"]
    prompt_id = lab.client.get(run_id)["prompt_id"]

    queued = {each[1]: each[4] for each in lab.client.http.get("/comfy/queue").json()["queue_pending"]}
    assert queued[prompt_id] == ["1"]  # the outputs that it makes

    held = worker.ask(ready=[digest]).json()
    assert worker.end(held["lease"]).status_code == 204
    lab.client.finish(run_id)
    for answer in (lab.client.http.get("/comfy/history"), lab.client.http.get(f"/comfy/history/{prompt_id}")):
        assert answer.json()[prompt_id]["prompt"][4] == ["1"]
