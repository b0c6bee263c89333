"""An Idempotency-Key names a run of its account alone: to nobody else, and in no other API, does it give that run."""

from __future__ import annotations

import pytest

from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack

pytestmark = pytest.mark.several_servers

KEY = {"Idempotency-Key": "order-of-everybody"}
GRAPH = fake_save("of the first")


def test_between_accounts(tenant: Client, shared: Stack) -> None:
    other = shared.client("gives-keys-of-others")
    first = tenant.post_run({"prompt": GRAPH}, **KEY).json()["id"]

    same = other.post_run({"prompt": GRAPH}, **KEY)
    different = other.post_run({"prompt": fake_save("of another")}, **KEY)
    of_v2 = other.http.post("/api/v2/jobs", json={"workflow": GRAPH}, headers=KEY)

    assert (same.status_code, different.status_code, of_v2.status_code) == (200, 422, 422)
    assert same.json()["id"] != first
    assert first not in same.text + different.text + of_v2.text
    assert [run["id"] for run in other.http.get("/api/v1/runs").json()] == [same.json()["id"]]
    assert tenant.post_run({"prompt": GRAPH}, **KEY).json()["id"] == first


def test_between_apis_of_one_account(tenant: Client) -> None:
    first = tenant.http.post("/api/v2/jobs", json={"workflow": GRAPH}, headers=KEY)
    replayed = tenant.post_run({"prompt": GRAPH}, **KEY)
    again = tenant.http.post("/api/v2/jobs", json={"workflow": GRAPH}, headers=KEY)

    assert (first.status_code, replayed.status_code, again.status_code) == (201, 200, 422), replayed.text
    assert len(tenant.http.get("/api/v1/runs").json()) == 1, "no run is made twice under one key"


def test_a_key_of_any_form_is_refused_or_kept_apart(tenant: Client) -> None:
    names = ["x" * 200, "x" * 199 + "y", "e", "E", "e%", "e_"]
    made = {name: tenant.post_run({"prompt": GRAPH}, **{"Idempotency-Key": name}).json()["id"] for name in names}

    assert len(set(made.values())) == len(names)
    for name, run_id in made.items():
        assert tenant.post_run({"prompt": GRAPH}, **{"Idempotency-Key": name}).json()["id"] == run_id
    for name in ("x" * 201, "x" * 60_000):
        assert tenant.post_run({"prompt": GRAPH}, **{"Idempotency-Key": name}).status_code == 400
