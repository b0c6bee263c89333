"""Tickets: what the editor's frame has in place of a key or cookie, in the path of each of its requests."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

import msgspec

from comfyward.errors import Forbidden, Unauthenticated

LASTS_MS = 15 * 60 * 1000
SIGNATURE_CHARACTERS = 43
OF_PACKS = "/packs"  # in place of a workflow, whose id has no such character


@dataclass(frozen=True)
class Ticket:
    """Lets whoever has it use one workflow as the account of a browser's session, while that session lasts.

    `page_origin` is the origin of the website's page that shows the editor. An empty `workflow_id` is for what all
    workflows share: the descriptions of nodes.
    """

    session_id: str
    workflow_id: str
    page_origin: str
    expires_at: int

    def has_expired(self, now: int) -> bool:
        return self.expires_at <= now


@dataclass(frozen=True)
class PackTicket:
    """Lets the editor of a browser's session get the files of packs from an archive, while the session lasts and their
    packs are allowed in an environment, for an accelerator. The same archive has the same ticket: browsers keep it."""

    session_id: str
    environment: str
    accelerator: str
    archive: str


class Tickets:
    """Writes and reads tickets. They are signed, not stored: every server of an installation reads them."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def write(self, ticket: Ticket) -> str:
        """The text of a ticket, fit for a path."""
        stated = _packed(msgspec.json.encode([ticket.expires_at, ticket.session_id, ticket.page_origin]))
        return f"{stated}.{self._signature(ticket.workflow_id, stated)}"

    def read(self, text: str, workflow_id: str) -> Ticket:
        """The ticket in a text, which may have expired. Raises Forbidden unless it is one for this workflow."""
        stated, _, signature = text.partition(".")
        if not hmac.compare_digest(self._signature(workflow_id, stated).encode(), signature.encode()):
            raise Forbidden("This address is not one of this workflow's editor.", hint="Open it on the website.")
        expires_at, session_id, page_origin = msgspec.json.decode(_unpacked(stated), type=tuple[int, str, str])
        return Ticket(session_id, workflow_id, page_origin, expires_at)

    def write_for_packs(self, ticket: PackTicket) -> str:
        """The text of a ticket, fit for a path."""
        stated = _packed(msgspec.json.encode(ticket))
        return f"{stated}.{self._signature(OF_PACKS, stated)}"

    def read_for_packs(self, text: str) -> PackTicket:
        """The ticket in a text. Raises Forbidden unless it is one."""
        stated, _, signature = text.partition(".")
        if not hmac.compare_digest(self._signature(OF_PACKS, stated).encode(), signature.encode()):
            raise Forbidden("This address is not one of an editor's packs.", hint="Open the workflow on the website.")
        return msgspec.json.decode(_unpacked(stated), type=PackTicket)

    def _signature(self, workflow_id: str, stated: str) -> str:
        message = f"editor ticket {workflow_id} {stated}"
        return _packed(hmac.new(self._secret, message.encode(), hashlib.sha256).digest())[:SIGNATURE_CHARACTERS]


def expired() -> Unauthenticated:
    """The error for a ticket whose time or session is over."""
    return Unauthenticated(
        "The editor's address has expired, or its session has ended.", hint="Open the workflow on the website again."
    )


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unpacked(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
