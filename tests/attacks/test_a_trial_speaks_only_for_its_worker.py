"""What a worker says of environments holds for itself and its pool; what it can leave here is bounded."""

from __future__ import annotations

import base64

import pytest
from sqlalchemy import Connection, func, select

from comfyward.ids import new_secret
from comfyward.store.schema import environment_trials
from tests.attacks.environment_lab import Lab, orders, report
from tests.attacks.raw_worker import RawWorker, catalog_of
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none")


@pytest.fixture
def lab(stack: Stack) -> Lab:
    return Lab(stack)


def rows_of(worker: RawWorker) -> int:
    def counted(conn: Connection) -> int:
        query = select(func.count()).where(environment_trials.c.worker_id == worker.id)
        return int(conn.scalar(query) or 0)

    return worker.stack.write(counted)


def test_the_good_trial_of_one_pool_promotes_nothing_for_others(lab: Lab) -> None:
    digest, other = lab.revision("1"), f"{lab.name}-other"
    lab.worker()  # for any pool, and has tried nothing
    stranger = lab.worker(pool=other, of=other)
    lab.has_ready(stranger, digest, "Paint")

    refused = lab.post("promote")

    assert (refused.status_code, lab.shown()["current"]) == (409, None)
    assert f"No worker of {lab.target} has tried it." in refused.json()["message"]


def test_the_bad_trial_of_one_pool_keeps_nothing_from_others(lab: Lab) -> None:
    digest, other = lab.revision("1"), f"{lab.name}-other"
    stranger = lab.worker(pool=other, of=other)
    lab.has_ready(lab.worker(), digest, "Paint")
    assert lab.tried(stranger, digest, ready=False, message="broken").status_code == 204

    assert lab.post("promote").json()["current"] == 1


def test_alone_the_worker_of_one_pool_promotes_nothing_for_others(lab: Lab) -> None:
    digest, other = lab.revision("1"), f"{lab.name}-other"
    absent, alone = lab.worker(), lab.worker(pool=other, of=other)
    lab.has_ready(alone, digest, "Paint")
    assert absent.goodbye().status_code == 204

    refused = lab.post("promote")

    assert (refused.status_code, lab.shown()["current"]) == (409, None)
    assert f"No worker of {lab.target} in pool {lab.name} has tried it." in refused.json()["message"]


def test_workers_of_one_pool_each_promote_what_all_their_pools_have_tried(lab: Lab) -> None:
    digest, pools = lab.revision("1"), (lab.name, f"{lab.name}-other")
    workers = [lab.worker(pool=pool, of=pool) for pool in pools]
    for worker in workers:
        assert lab.post("promote").status_code == 409
        lab.has_ready(worker, digest, "Paint")

    assert lab.post("promote").json()["current"] == 1


def test_the_workers_of_a_fleet_promote_for_all_pools(lab: Lab) -> None:
    digest, other = lab.revision("1"), f"{lab.name}-other"
    lab.worker(pool=other, of=other)
    lab.has_ready(lab.worker(of=lab.name, made_by="a fleet"), digest, "Paint")

    assert lab.post("promote").json()["current"] == 1


def test_each_target_needs_a_trial_of_its_own(lab: Lab) -> None:
    digest = lab.revision("1")
    elsewhere = lab.also_locked(f"{lab.target}-other")
    lab.has_ready(lab.worker(), digest, "Paint")

    untried = f"No worker of {lab.target}-other has tried it."
    assert untried in lab.post("promote").json()["message"]
    there = lab.worker(target=f"{lab.target}-other")
    assert untried in lab.post("promote").json()["message"]
    lab.has_ready(there, elsewhere, "Paint")
    assert lab.post("promote").json()["current"] == 1


def test_a_catalog_of_an_environment_holds_for_the_pool_of_its_token(lab: Lab) -> None:
    digest, other = lab.revision("1"), f"{lab.name}-other"
    lab.has_ready(lab.worker(), digest, "Paint")
    assert lab.post("promote").status_code == 200
    stranger = lab.worker(pool=other, of=other)
    lab.has_ready(stranger, digest, "OnlyMine")

    assert lab.submit(lab.name).status_code == 200
    assert lab.submit(lab.name, "OnlyMine").status_code == 400
    assert lab.submit(lab.name, "OnlyMine", accelerator=other).status_code == 200
    nodes = lab.client.http.get("/api/v1/nodes", params={"environment": lab.name}).json()
    assert [each["name"] for each in nodes] == ["Paint"]


def test_nothing_is_heard_of_what_no_revision_has(lab: Lab) -> None:
    worker, unknown = lab.worker("f" * 64), "e" * 64
    of_another_target = Lab(lab.stack).revision("1")

    for digest, refused in ((unknown, 403), (of_another_target, 403), ("x", 400)):
        assert report(worker, digest, "ready").status_code == 200
        assert lab.tried(worker, digest, ready=True).status_code == refused
        assert worker.put_catalog(catalog_of("Mine"), digest).status_code == 403

    assert rows_of(worker) == 0
    assert worker.heartbeat(environments=[{"digest": unknown, "state": "ready"}] * 51).status_code == 400


def test_trials_out_of_bounds_are_refused(lab: Lab) -> None:
    digest, worker = lab.revision("1"), lab.worker()
    large = base64.b64encode(b"x" * (257 << 10)).decode()
    bad = [
        {"ready": True, "picture": large},
        {"ready": True, "message": "x" * 4001},
        {"ready": True, "packs": [{"folder": "x", "imported": True}] * 501},
        {"ready": True, "packs": [{"folder": "x", "imported": True, "classes": ["x"] * 5001}]},
        {"ready": "yes"},
        {"ready": True, "classes": -1},
    ]

    assert [lab.tried(worker, digest, **trial).status_code for trial in bad] == [400] * len(bad)
    assert rows_of(worker) == 0
    hostile = "\x1b]0;owned\x07 \x1b[31mred"
    pack = {"folder": f"{hostile}\nmine", "imported": False, "error": hostile, "classes": [hostile]}
    assert lab.tried(worker, digest, ready=False, message=hostile, hint=hostile, packs=[pack]).status_code == 204
    (host,) = lab.shown()["revisions"][0]["hosts"]
    assert "red" in str(host)
    assert "\x1b" not in str(host)
    assert "\\x1b" not in str(host)
    assert [each["folder"] for each in host["packs"]] == ["red mine"]


def test_locks_are_read_only_by_workers_that_have_joined(lab: Lab) -> None:
    digest, worker = lab.revision("1"), lab.worker()
    foreign = RawWorker(lab.stack, worker.token, lab.name, secret=new_secret())

    for path in (f"environments/{digest}", f"environments/trees/{digest}"):
        assert foreign.call("GET", path).status_code == 403
    assert worker.call("GET", f"environments/{digest}").status_code == 200
    assert worker.call("GET", f"environments/{'0' * 64}").status_code == 404
    assert worker.call("GET", "environments/trees/..%2f..%2fserver.id").status_code == 404


def test_another_worker_speaks_for_none_of_its_rows(lab: Lab) -> None:
    digest, worker = lab.revision("1"), lab.worker()
    lab.has_ready(worker, digest, "Paint")
    thief = lab.worker()
    posing = RawWorker(lab.stack, thief.token, lab.name, worker.id, worker.incarnation, thief.secret)

    assert report(posing, digest, "failed").status_code == 403
    assert lab.shown()["revisions"][0]["state"] == "ready"
    assert lab.post("try").status_code == 200
    assert (orders(worker), orders(thief)) == ([], [digest])
