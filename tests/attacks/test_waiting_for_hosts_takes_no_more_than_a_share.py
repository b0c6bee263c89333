"""Hosts ask for a pause of an hour. One account's runs wait for them in two places of a worker; others go first."""

from __future__ import annotations

from tests.fakes.http import Origin
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Client


def test_accounts_whose_hosts_ask_for_pauses_delay_nobody(start_fake: StartFake, site: Origin) -> None:
    stack = start_fake().wait_ready()
    mallory, eve, victim = stack.client("mallory"), stack.client("eve"), stack.client("victim")

    def waits(client: Client, name: str) -> str:
        url = site.put(f"/models/{name}", b"x", status=429, headers={"Retry-After": "3000"})
        return client.submit(fake_save(name), files={f"/models/loras/{name}": url})

    first = [waits(mallory, f"mallory{number}") for number in range(4)]
    for run in first[:2]:
        mallory.wait_for(run, "status", state="assigned")

    assert victim.run(fake_save("beside one account"))["status"] == "COMPLETED"
    assert [mallory.get(run)["status"] for run in first] == ["INIT", "INIT", "QUEUED", "QUEUED"]

    second = [waits(eve, f"eve{number}") for number in range(2)]
    eve.wait_for(second[0], "status", state="assigned")  # the third place

    assert victim.run(fake_save("beside two accounts"))["status"] == "COMPLETED"
    assert {client.get(run)["status"] for client, run in ((mallory, first[0]), (eve, second[0]))} == {"INIT"}
    for client, runs in ((mallory, first), (eve, second)):
        for run in runs:
            client.cancel(run)
            assert client.finish(run)["end_reason"] == "cancelled"
