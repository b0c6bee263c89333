"""A receiver can verify that a webhook is recent and from the server, by Standard Webhooks' signature."""

import datetime
import json
import time

import pytest
from standardwebhooks import Webhook

from comfyward.client import InvalidSignature, verify_webhook
from comfyward.ids import new_webhook_secret, sign_webhook

SECRET = new_webhook_secret()
BODY = json.dumps({"id": "run1", "status": "COMPLETED"}).encode()


def test_a_signed_message_is_the_run() -> None:
    headers = sign_webhook([SECRET], "msg_1", int(time.time()), BODY)

    assert verify_webhook(SECRET, headers, BODY)["id"] == "run1"
    assert verify_webhook(SECRET, {name.title(): value for name, value in headers.items()}, BODY)["id"] == "run1"


def test_the_signature_is_that_of_standard_webhooks() -> None:
    now = datetime.datetime.now(datetime.UTC)
    signature = Webhook(SECRET).sign("msg_1", now, BODY.decode())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": f"v1,x {signature}",
    }

    assert verify_webhook(SECRET, headers, BODY)["id"] == "run1"


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "ä"},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": str(int(time.time()) - 3600)},
    ],
)
def test_a_changed_message_is_refused(change: dict[str, str]) -> None:
    headers = sign_webhook([SECRET], "msg_1", int(time.time()), BODY) | change

    with pytest.raises(InvalidSignature):
        verify_webhook(SECRET, headers, BODY)


def test_a_changed_body_and_a_message_without_signature_are_refused() -> None:
    headers = sign_webhook([SECRET], "msg_1", int(time.time()), BODY)

    with pytest.raises(InvalidSignature):
        verify_webhook(SECRET, headers, BODY + b" ")
    with pytest.raises(InvalidSignature):
        verify_webhook(SECRET, {}, BODY)
