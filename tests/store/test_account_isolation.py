"""Every operation that takes an id takes an account too, and another account's rows do not exist for it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from comfyward.accounts.account import Account
from comfyward.errors import NotFound
from comfyward.ids import hash_secret
from comfyward.runs.event import Event, Status
from comfyward.runs.run import PublicStatus, State
from comfyward.store import accounts, blobs, editor, events, files, new_runs, runs, sessions, webhooks, workflows
from comfyward.store.db import now_ms
from comfyward.store.runs import RunFilter
from tests.store.conftest import Store

QUEUED = Status(PublicStatus.QUEUED, State.QUEUED, None)


@pytest.fixture
def filled(store: Store) -> Store:
    """Alice has a run with an event, a file and a delivery."""
    store.new_run("r", webhook="https://example.com/hook")
    store.write(events.add, [Event("r", store.alice.id, QUEUED, 1)], now_ms())
    store.write(blobs.add, "d" * 64, "s" * 64, 3, now_ms())
    file = files.new_file(store.alice.id, "/input/a", "d" * 64, 3, "text/plain", now_ms())
    store.write(files.put, dataclasses.replace(file, id="file"))
    store.write(lambda conn: webhooks.add(conn, runs.get(conn, store.alice.id, "r"), "run.started", now_ms()))
    return store


def delivery_of(store: Store, account: Account) -> str:
    return str(store.read(webhooks.find, account.id, None, 1)[0].id)


BY_ID: dict[str, Callable[[Store, str], Any]] = {
    "runs.get": lambda s, me: s.read(runs.get, me, "r"),
    "runs.log_of": lambda s, me: s.read(runs.log_of, me, "r"),
    "runs.by_prompt_id": lambda s, me: s.read(runs.by_prompt_id, me, "prompt-r"),
    "runs.state_of": lambda s, me: s.read(runs.state_of, me, "r"),
    "events.after": lambda s, me: s.read(events.after, me, "r", 0),
    "runs.request_cancel": lambda s, me: s.write(runs.request_cancel, me, "r", 1),
    "runs.remove": lambda s, me: s.write(runs.remove, me, "r", 1),
    "workflows.get": lambda s, me: s.read(workflows.get, me, s.default_workflow(s.alice)),
    "workflows.place": lambda s, me: s.read(workflows.place, me, s.default_workflow(s.alice)),
    "workflows.change": lambda s, me: s.write(workflows.change, me, s.default_workflow(s.alice), {"name": "x"}, 1),
    "workflows.remove": lambda s, me: s.write(workflows.remove, me, s.default_workflow(s.alice), 1),
    "files.get": lambda s, me: s.read(files.get, me, "/input/a"),
    "files.remove": lambda s, me: s.write(files.remove, me, "/input/a"),
    "files.by_id": lambda s, me: s.read(files.by_id, me, "file"),
    "files.remove_by_id": lambda s, me: s.write(files.remove_by_id, me, "file"),
    "files.newest_result": lambda s, me: s.read(files.newest_result, me, "input", "a"),
    "files.rename": lambda s, me: s.write(files.rename, me, "/input/a", "/input/b", 1),
    "webhooks.get": lambda s, me: s.read(webhooks.get, me, delivery_of(s, s.alice), now_ms()),
    "webhooks.resend": lambda s, me: s.write(webhooks.resend, me, delivery_of(s, s.alice), now_ms()),
}


@pytest.mark.parametrize("operation", BY_ID)
def test_ids_of_another_account_are_not_found(filled: Store, operation: str) -> None:
    with pytest.raises(NotFound):
        BY_ID[operation](filled, filled.bob.id)


def test_lists_contain_no_rows_of_another_account(filled: Store) -> None:
    bob, alice = filled.bob.id, filled.alice.id

    assert filled.read(runs.find, bob, RunFilter()) == []
    assert filled.read(runs.count, bob, RunFilter()) == 0
    assert filled.read(new_runs.with_key, bob, "key") is None
    filled.write(runs.clear_history, bob, RunFilter(), ["prompt-r"], 1)
    assert filled.read(runs.count, alice, RunFilter(in_history=True)) == 1
    assert filled.read(files.find, bob) == []
    assert filled.read(files.at, bob, ["/input/a"]) == []
    filled.write(files.link, alice, {"/models/loras/x": {"url": "https://h/x"}}, 1)
    assert filled.read(files.links, bob) == {}
    assert list(filled.read(files.links, alice)) == ["/models/loras/x"]
    filled.write(editor.change_settings, alice, {"theme": "dark"})
    assert filled.read(editor.settings, bob) == {}
    assert filled.read(webhooks.find, bob, None, 10) == []
    assert filled.read(accounts.keys, bob) == []
    assert filled.read(blobs.size_for, bob, "d" * 64) is None
    assert filled.read(blobs.size_for, alice, "d" * 64) == 3
    assert filled.read(accounts.usage_by, bob, "day", "2000-01-01", "2999-01-01") == []
    own = filled.default_workflow(filled.bob)
    assert [each.id for each in filled.read(workflows.listed, bob, None, 10).rows] == [own]
    assert [each.workflow.id for each in filled.read(workflows.cards, bob, workflows.Search())] == [own]
    assert list(filled.read(workflows.names, bob)) == [own]


def test_what_one_changes_at_a_path_leaves_anothers_file_there(store: Store) -> None:
    path, alice, bob, now = "/input/a", store.alice.id, store.bob.id, now_ms()

    def put(account_id: str, digest: str) -> None:
        store.write(files.put, files.new_file(account_id, path, digest * 64, 3, "text/plain", now))

    for account_id in (bob, alice):
        put(account_id, "d")
        store.write(files.link, account_id, {path: {"url": "https://h/x"}}, now + 1)
    theirs = store.read(files.get, bob, path)
    store.write(files.rename, alice, path, "/input/b", now)
    put(alice, "e")
    store.write(files.remove, alice, path)
    store.write(files.unlink, alice, path)

    assert store.read(files.at, bob, [path]) == [theirs]
    assert list(store.read(files.links, bob)) == [path]
    assert [file.path for file in store.read(files.find, alice)] == ["/input/b"]


def test_a_session_ends_with_its_time_and_with_its_key(store: Store) -> None:
    now = now_ms()
    key = store.write(accounts.create_key, store.alice.id, "laptop", now)
    caller, _ = store.read(accounts.caller, hash_secret(key), now)
    token = store.write(sessions.begin, caller, now, "Firefox")

    assert store.read(sessions.caller, token, now)[0].account.name == "alice"
    assert store.read(sessions.caller, "guess", now) is None
    assert store.read(sessions.caller, token, now + sessions.LASTS_MS + 1) is None
    store.write(accounts.revoke_key, store.alice.id, "laptop", now)
    assert store.read(sessions.caller, token, now) is None


def test_a_key_belongs_to_its_account_until_it_is_revoked_or_expires(store: Store) -> None:
    now = now_ms()
    key = store.write(accounts.create_key, store.alice.id, "laptop", now)
    short = store.write(accounts.create_key, store.alice.id, "short", now, now + 10)

    assert store.read(accounts.caller, hash_secret(key), now)[0].account.name == "alice"
    assert store.read(accounts.caller, hash_secret(short), now + 11) is None
    assert store.read(accounts.caller, hash_secret("cw_guess"), now) is None
    with pytest.raises(NotFound):
        store.write(accounts.revoke_key, store.bob.id, "laptop", now)
    store.write(accounts.revoke_key, store.alice.id, "laptop", now)
    assert store.read(accounts.caller, hash_secret(key), now) is None
