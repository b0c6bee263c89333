"""The same Idempotency-Key gives the same run, also when both requests come at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.stack.graphs import fake_save
from tests.stack.stack import Client

pytestmark = pytest.mark.several_servers


def test_idempotent_replay(tenant: Client) -> None:
    body = {"prompt": fake_save("once"), "files": {"/input/a.txt": "data:,x"}}

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: tenant.post_run(body, **{"Idempotency-Key": "order-1"}), range(8)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(tenant.http.get("/api/v1/runs").json()) == 1

    other = tenant.post_run({"prompt": fake_save("twice")}, **{"Idempotency-Key": "order-1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")

    retry = f"/api/v1/workflows/default/runs/{tenant.finish(answers[0].json()['id'])['id']}/retry"
    again = [tenant.http.post(retry, headers={"Idempotency-Key": "again-1"}).json()["id"] for _ in range(2)]
    assert again[0] == again[1]
    assert len(tenant.http.get("/api/v1/runs").json()) == 2
