"""Webhooks are rows: they are tried again until they arrive, signed, with the run as it was."""

import json
import threading
from http import HTTPStatus

import pytest
from standardwebhooks import Webhook

from tests.fakes.http import Receiver, receiver
from tests.servers import free_port
from tests.stack.graphs import fake_save, fake_wait, node
from tests.stack.stack import Client


def test_a_run_is_announced_when_it_starts_and_when_it_completes(tenant: Client, hook: Receiver) -> None:
    secret = tenant.http.get("/api/v1/webhooks/secret").json()["secret"]

    run = tenant.run(fake_save(), webhook=hook.url)
    messages = [hook.next(), hook.next()]

    for message in messages:
        Webhook(secret).verify(message.body, message.headers)  # raises when the signature is not right
    bodies = [json.loads(message.body) for message in messages]  # in the order in which they arrived
    assert [(body["id"], body["status"]) for body in bodies] == [(run["id"], "STARTED"), (run["id"], "COMPLETED")]
    assert bodies[1]["output"] == run["output"]


def test_errors_and_cancels_are_announced_too(tenant: Client, hook: Receiver) -> None:
    tenant.run({"1": node("FakeError", message="broken")}, webhook=hook.url)
    reasons = [json.loads(hook.next().body)["end_reason"] for _ in range(2)]
    assert reasons == [None, "node_error"]

    run_id = tenant.submit(fake_wait(60), webhook=hook.url)
    tenant.wait_for(run_id, "progress")
    tenant.cancel(run_id)
    reasons = [json.loads(hook.next().body)["end_reason"] for _ in range(2)]
    assert reasons == [None, "cancelled"]


@pytest.mark.several_servers
def test_a_receiver_that_was_down_gets_everything_once_it_is_up(tenant: Client) -> None:
    port = free_port()
    run = tenant.run(fake_save(), webhook=f"http://127.0.0.1:{port}/hook")
    deliveries = tenant.http.get("/api/v1/webhooks/deliveries", params={"run": run["id"]}).json()
    assert [delivery["state"] for delivery in deliveries] == ["pending", "pending"]

    with receiver(port, [500]) as back:
        statuses = [json.loads(back.next().body)["status"] for _ in range(3)]

    assert statuses == ["STARTED", "STARTED", "COMPLETED"]


def test_a_redirect_is_not_followed_and_the_message_is_sent_again(tenant: Client, hook: Receiver) -> None:
    hook.statuses.append(HTTPStatus.TEMPORARY_REDIRECT)

    tenant.run(fake_save(), webhook=hook.url)
    messages = [hook.next() for _ in range(3)]

    assert [message.path for message in messages] == ["/hook"] * 3
    assert [json.loads(message.body)["status"] for message in messages] == ["STARTED", "STARTED", "COMPLETED"]


def test_a_delivery_can_be_sent_again(tenant: Client, hook: Receiver) -> None:
    tenant.run(fake_save(), webhook=hook.url)
    first = {hook.next().headers["webhook-id"], hook.next().headers["webhook-id"]}

    answer = tenant.http.post(f"/api/v1/webhooks/deliveries/{min(first)}/resend")

    assert answer.status_code == 202
    assert hook.next().headers["webhook-id"] == min(first)


@pytest.mark.several_servers
def test_a_delivery_sent_again_while_it_is_on_its_way_is_made_again(tenant: Client, hook: Receiver) -> None:
    hook.hold = threading.Event()
    tenant.run(fake_save(), webhook=hook.url)
    on_its_way = hook.next().headers["webhook-id"]

    answer = tenant.http.post(f"/api/v1/webhooks/deliveries/{on_its_way}/resend")
    hook.hold.set()

    assert answer.status_code == 202
    assert on_its_way in {hook.next().headers["webhook-id"], hook.next().headers["webhook-id"]}
