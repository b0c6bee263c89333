"""Requests of one account that take long, beside which another account is answered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2

from tests.looks import looks
from tests.stack.stack import END_TIMEOUT_S, Client

CLIENTS, SHORT = 4, 3


def answered_beside(other: Client, long_request: Callable[[], httpx2.Response]) -> list[httpx2.Response]:
    """The answers to requests of one account, of which some always wait; several short ones are answered within the
    time that one of them takes.

    Where they hold up the server, each short one waits for one of them at least.
    """
    answers, over = list[httpx2.Response](), threading.Event()

    def again_and_again() -> None:
        while not over.is_set():
            answers.append(long_request())

    with ThreadPoolExecutor(CLIENTS) as threads:
        asking = [threads.submit(again_and_again) for _ in range(CLIENTS)]
        try:
            assert any(_long_answers_meanwhile(other, answers) <= 1 for _ in looks(END_TIMEOUT_S))
        finally:
            over.set()
        for each in asking:
            each.result()
    return answers


def _long_answers_meanwhile(other: Client, answers: list[httpx2.Response]) -> int:
    """How many long requests are answered while another account asks for something short a few times."""
    before = len(answers)
    for _ in range(SHORT):
        assert other.http.get("/api/v1/me").status_code == 200
    return len(answers) - before
