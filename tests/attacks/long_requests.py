"""Requests of one account that take long, beside which another account is answered."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2

from tests.stack.stack import Client


def answered_beside(other: Client, hostile: Client, path: str, count: int) -> list[httpx2.Response]:
    """The answers to requests of one account, all sent at once; another is answered before the last of them.

    Those of one account are made one after the other, beside the event loop.
    """
    answered, asked = list[str](), threading.Barrier(count + 1)

    def long(_: int) -> httpx2.Response:
        asked.wait(60)
        answer = hostile.http.get(path)
        answered.append("long")
        return answer

    with ThreadPoolExecutor(count) as threads:
        answers = [threads.submit(long, number) for number in range(count)]
        asked.wait(60)
        for _ in range(3):
            assert other.http.get("/api/v1/me").status_code == 200
        answered.append("short")
        found = [answer.result() for answer in answers]

    assert answered[-1] == "long"
    return found
