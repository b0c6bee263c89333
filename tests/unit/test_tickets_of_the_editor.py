"""A ticket is for one workflow, one page and a quarter of an hour; nobody without the server's secret makes one."""

import pytest

from comfyward.api.tickets import Ticket, Tickets
from comfyward.errors import Forbidden

TICKET = Ticket("session", "workflow", "http://localhost:8600", 1000)


def test_what_is_written_is_read() -> None:
    text = Tickets("secret").write(TICKET)
    assert Tickets("secret").read(text, "workflow") == TICKET
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_its_time_is_over_at_its_end() -> None:
    assert [TICKET.has_expired(now) for now in (999, 1000, 1001)] == [False, True, True]


def test_nothing_else_is_taken() -> None:
    tickets = Tickets("secret")
    text = tickets.write(TICKET)
    stated, _, signature = text.partition(".")
    later, _, _ = tickets.write(Ticket("session", "workflow", "http://localhost:8600", 9000)).partition(".")
    forged = ("", ".", stated, f".{signature}", f"{later}.{signature}", text[:-1], text + "A", text + "\u00e9")
    for other, workflow in [(text, "other"), (text, ""), *((each, "workflow") for each in forged)]:
        with pytest.raises(Forbidden):
            tickets.read(other, workflow)
    with pytest.raises(Forbidden):
        Tickets("another secret").read(text, "workflow")
