"""Verifies webhooks (Standard Webhooks)."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

from comfyward.client.errors import InvalidSignature
from comfyward.ids import sign_webhook

TOLERANCE_S = 300


def verify_webhook(secret: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The run in a webhook. Raises InvalidSignature.

    `secret` is that of GET /api/v1/webhooks/secret. The headers are webhook-id, webhook-timestamp (within five minutes)
    and webhook-signature.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, sent_at, signatures = (given[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        age_s = abs(time.time() - int(sent_at))
    except (KeyError, ValueError) as error:
        raise InvalidSignature("The webhook is not signed.") from error
    if age_s > TOLERANCE_S:
        raise InvalidSignature("The webhook is too old.")
    expected = sign_webhook([secret], message_id, int(sent_at), body)["webhook-signature"]
    if not any(hmac.compare_digest(expected.encode(), each.encode()) for each in signatures.split(" ")):
        raise InvalidSignature("The webhook's signature is invalid.")
    run: dict[str, Any] = json.loads(body)
    return run
