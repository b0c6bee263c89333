"""Ids, keys, digests and signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import uuid
from collections.abc import Sequence

# nanoid's alphabet: 64 URL-safe characters, so that a byte modulo 64 is unbiased.
_ALPHABET = b"useandom-26T198340PX75pxJACKVERYMINDBUSHWOLF_GQZbfghjklqvwyzrict"
_TABLE = bytes(_ALPHABET[byte & 63] for byte in range(256))

KEY_PREFIX = "cw_"


def new_id() -> str:
    """A 21-character nanoid (126 random bits), the form of ComfyICU's run and workflow ids.

    It does not begin with "-", which would make it an option on a command line.
    """
    while (found := os.urandom(21).translate(_TABLE)).startswith(b"-"):
        pass
    return found.decode("ascii")


def is_id(text: str) -> bool:
    """True if the text has the form of a run's or workflow's id."""
    return len(text) == 21 and set(text.encode()) <= set(_ALPHABET)


def new_uuid() -> str:
    """A random UUID, the form of ComfyUI's prompt ids and of assets."""
    return str(uuid.uuid4())


def new_api_key() -> str:
    """A new API key, of which only the hash is stored."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def new_secret() -> str:
    """A random secret of 256 bits, URL-safe."""
    return secrets.token_urlsafe(32)


def new_webhook_secret() -> str:
    """A signing secret in the format of Standard Webhooks: whsec_ and 24 random bytes in base64."""
    return "whsec_" + base64.b64encode(os.urandom(24)).decode("ascii")


def sign_webhook(secrets: Sequence[str], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers that let a receiver verify the origin and age of a message (Standard Webhooks).

    They have a signature for each secret: two while a receiver switches to a new one.
    """
    content = f"{message_id}.{timestamp_s}.".encode() + body
    keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets]
    signatures = [base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def hash_secret(secret: str) -> str:
    """The SHA-256 of a random secret, as it is stored (random keys need no slow hash)."""
    return hashlib.sha256(secret.encode("utf-8")).hexdigest()


def is_digest(text: str) -> bool:
    """True if the text is a 256-bit digest (blake3 or sha256) in lower-case hex."""
    return len(text) == 64 and all(character in "0123456789abcdef" for character in text)


def advisory_lock_id(name: str) -> int:
    """The signed 64-bit number that identifies a named lock in PostgreSQL."""
    return int.from_bytes(hashlib.sha256(f"comfyward {name}".encode()).digest()[:8], "big", signed=True)
