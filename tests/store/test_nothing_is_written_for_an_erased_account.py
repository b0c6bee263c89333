"""What was under way when an account was closed and erased is refused in words, whatever it was about to write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection

from comfyward.accounts.account import Caller
from comfyward.accounts.storage import Quota
from comfyward.errors import NotFound
from comfyward.ids import hash_secret
from comfyward.runs.named_secret import HostPattern, NamedSecret
from comfyward.store import accounts, editor, files, imports, named_secrets, new_runs, runs, sessions, uploads
from comfyward.store.imports import Import
from comfyward.store.uploads import Upload
from tests.store.conftest import Store

NOW = 1_000


def a_file(conn: Connection, account_id: str) -> None:
    files.put(conn, files.new_file(account_id, "/input/a", "d" * 64, 3, "text/plain", NOW))


def a_file_with_a_limit(conn: Connection, account_id: str) -> None:
    files.put(conn, files.new_file(account_id, "/input/a", "d" * 64, 3, "text/plain", NOW), 1000)


def an_upload(conn: Connection, account_id: str) -> None:
    uploads.add(conn, Upload("u", account_id, "/input/a", 5, NOW), Quota())


def an_import(conn: Connection, account_id: str) -> None:
    imports.add(conn, Import("i", account_id, "/input/a", {"url": "u"}, "waiting", None, NOW, None))


def a_key(conn: Connection, account_id: str) -> None:
    accounts.create_key(conn, account_id, "late", NOW)


def a_secret(conn: Connection, account_id: str) -> None:
    hosts = (HostPattern.parse("example.com"),)
    named_secrets.put(conn, NamedSecret(account_id, "LATE", hosts, "Authorization", "k", "encrypted", NOW, None))


def a_setting(conn: Connection, account_id: str) -> None:
    editor.change_settings(conn, account_id, {"Comfy.Locale": "en"})


def usage(conn: Connection, account_id: str) -> None:
    of: dict[str, Any] = {"run_id": "r", "attempt": 1, "api_key_id": None, "workflow_id": "w", "accelerator": "L4"}
    accounts.add_usage(conn, account_id=account_id, day="2026-01-01", gpu_ms=1, credits=1.0, **of)


WRITES = (a_file, a_file_with_a_limit, an_upload, an_import, a_key, a_secret, a_setting, usage)


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
def test_a_late_row_is_refused(store: Store, write: Callable[[Connection, str], Any]) -> None:
    store.write(accounts.retire, store.alice.id, NOW)
    store.write(accounts.erase, store.alice.id)

    with pytest.raises(NotFound):
        store.write(write, store.alice.id)
    store.write(write, store.bob.id)


def test_a_late_run_is_refused(store: Store) -> None:
    late = store.row("r")
    store.write(accounts.retire, store.alice.id, NOW)
    store.write(accounts.erase, store.alice.id)

    with pytest.raises(NotFound):
        store.write(new_runs.add, late)


def test_what_began_to_log_in_opens_nothing(store: Store) -> None:
    """A login or a new key whose request was on its way when the account was closed."""
    alice = store.alice
    store.write(accounts.retire, alice.id, NOW)

    token = store.write(sessions.begin, Caller(alice, None), NOW)
    key = store.write(accounts.create_key, alice.id, "late", NOW)

    assert store.read(sessions.caller, token, NOW) is None
    assert store.read(lambda conn: sessions.caller_by_id(conn, _session_id(conn, alice.id), NOW)) is None
    assert store.read(accounts.caller, hash_secret(key), NOW) is None


def _session_id(conn: Connection, account_id: str) -> str:
    [session] = sessions.find(conn, account_id, NOW)
    return session.id


def test_an_import_of_a_closed_account_is_not_fetched(store: Store) -> None:
    store.write(an_import, store.alice.id)

    store.write(accounts.retire, store.alice.id, NOW)

    assert store.read(imports.waiting, 5, 2) == []


def test_a_run_that_came_late_is_known_until_it_is_asked_to_end(store: Store) -> None:
    store.write(accounts.retire, store.alice.id, NOW)
    store.new_run("late")
    store.new_run("of another", store.bob)

    assert store.read(runs.of_closed_accounts) == [(store.alice.id, "late")]
    store.write(runs.request_cancel, store.alice.id, "late", NOW)
    assert store.read(runs.of_closed_accounts) == []
