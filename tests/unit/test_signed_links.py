"""A link of v2 opens another account's file for as long as it says, as a value of `files` too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from comfyward.api.auth import Auth
from comfyward.api.own_urls import OwnUrls
from comfyward.errors import NotFound
from comfyward.runs.files import Stored, Url
from comfyward.store import files
from comfyward.store.db import Database
from comfyward.store.files import new_file
from comfyward.store.notices import NoOthers

SERVER = "http://server"
PATH = "/api/v2/assets/42/content"


class _OfAnotherAccount:
    """A database whose only file is another account's."""

    notices = NoOthers()

    async def lookup(self, question: Callable[..., Any], *_: object) -> Any:
        if question is files.by_id_of_any:
            return new_file("other", "/output/a.png", "digest", 9, "image/png", 0)
        raise NotFound("There is no such file.")


def resolved(lasts_s: int, signed_as: int | None = None) -> object:
    db, expires = cast(Database, _OfAnotherAccount()), int(time.time()) + lasts_s
    auth = Auth(db, "secret")
    signature = auth.signature(f"{PATH}?expires={expires if signed_as is None else signed_as}")
    url = Url(f"{SERVER}{PATH}?expires={expires}&sig={signature}")
    return asyncio.run(OwnUrls(auth, db).resolve("mine", SERVER, url))


def test_a_link_is_valid_until_it_expires() -> None:
    assert resolved(60) == Stored("digest", 9)


def test_an_expired_link_is_refused() -> None:
    with pytest.raises(NotFound):
        resolved(-1)


def test_the_expiry_is_signed() -> None:
    with pytest.raises(NotFound):
        resolved(60, signed_as=int(time.time()) - 1)
