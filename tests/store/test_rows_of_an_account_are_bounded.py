"""An account has only so many keys, workflows, links and other rows; another account's do not count."""

import pytest

from comfyward.accounts.account import Caller
from comfyward.errors import Conflict
from comfyward.ids import new_id
from comfyward.store import accounts, editor, files, imports, row_limits, sessions, workflows
from comfyward.store.imports import Import
from comfyward.store.workflows import Workflow
from tests.store.conftest import Store

NOW = 1_000_000


def test_keys_in_use(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_limits, "KEYS", 2)
    for name in ("a", "b"):
        store.write(accounts.create_key, store.alice.id, name, NOW)

    with pytest.raises(Conflict, match=r"^You have 2 API keys in use, which is the limit\.$"):
        store.write(accounts.create_key, store.alice.id, "c", NOW)
    store.write(accounts.create_key, store.bob.id, "c", NOW)
    store.write(accounts.revoke_key, store.alice.id, "a", NOW)
    store.write(accounts.create_key, store.alice.id, "c", NOW)


def test_revoked_keys_are_forgotten_with_the_sessions_that_they_opened(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_limits, "REVOKED_KEYS", 1)
    for name in ("a", "b", "c"):
        store.write(accounts.create_key, store.alice.id, name, NOW)
    first = store.read(accounts.keys, store.alice.id)[0]
    opened = store.write(sessions.begin, Caller(store.alice, first.id), NOW)

    for number, name in enumerate(("a", "b")):
        store.write(accounts.revoke_key, store.alice.id, name, NOW + number)

    assert [key.name for key in store.read(accounts.keys, store.alice.id)] == ["b", "c"]
    assert store.read(sessions.caller, opened, NOW) is None


def test_sessions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST", 2)
    of_bob = store.write(sessions.begin, Caller(store.bob, None), NOW)

    opened = [store.write(sessions.begin, Caller(store.alice, None), NOW + number) for number in range(3)]

    good = [store.read(sessions.caller, token, NOW + 3) is not None for token in (*opened, of_bob)]
    assert good == [False, True, True, True]


def test_settings_of_the_editor(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_limits, "SETTINGS", 2)
    store.write(editor.change_settings, store.alice.id, {"a": 1, "b": 2})

    with pytest.raises(Conflict):
        store.write(editor.change_settings, store.alice.id, {"b": 3, "c": 3})
    store.write(editor.change_settings, store.alice.id, {"b": 4})
    store.write(editor.change_settings, store.bob.id, {"c": 5})
    assert store.read(editor.settings, store.alice.id) == {"a": 1, "b": 4}


def test_urls_by_path(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run is refused for them: those that were named longest ago are forgotten."""
    monkeypatch.setattr(row_limits, "LINKS", 10)
    for number in range(11):
        store.write(files.link, store.alice.id, {f"/input/{number}": {"url": "u"}}, NOW + number)
    store.write(files.link, store.alice.id, {"/input/0": {"url": "v"}}, NOW + 20)
    store.write(files.link, store.bob.id, {f"/input/{number}": {"url": "u"} for number in range(10)}, NOW)

    assert store.read(files.of_many_links) == [store.alice.id]
    assert store.write(files.forget_links, store.alice.id) == 2

    assert store.read(files.of_many_links) == []
    assert store.read(files.links, store.alice.id) == {
        "/input/0": {"url": "v"},
        **{f"/input/{number}": {"url": "u"} for number in range(3, 11)},
    }
    assert len(store.read(files.links, store.bob.id)) == 10


def test_workflows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_limits, "WORKFLOWS", 2)  # with the default one

    def create(account_id: str) -> None:
        store.write(workflows.create, Workflow(new_id(), account_id, "w", created_at=NOW, updated_at=NOW))

    create(store.alice.id)
    with pytest.raises(Conflict):
        create(store.alice.id)
    create(store.bob.id)


def test_workflows_in_trials(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_limits, "IN_TRIALS", 1)

    def create(account_id: str, *, in_trials: bool) -> str:
        new = Workflow(new_id(), account_id, "w", created_at=NOW, updated_at=NOW, in_trials=in_trials)
        store.write(workflows.create, new)
        return new.id

    marked, other = create(store.alice.id, in_trials=True), create(store.alice.id, in_trials=False)
    with pytest.raises(Conflict, match=r"^You have 1 workflows in trials, which is the limit\.$"):
        create(store.alice.id, in_trials=True)
    with pytest.raises(Conflict):
        store.write(workflows.change, store.alice.id, other, {"in_trials": True}, NOW)
    create(store.bob.id, in_trials=True)
    assert store.write(workflows.change, store.alice.id, marked, {"in_trials": True, "name": "n"}, NOW).in_trials
    store.write(workflows.change, store.alice.id, marked, {"in_trials": False}, NOW)
    assert store.write(workflows.change, store.alice.id, other, {"in_trials": True}, NOW).in_trials


def test_waiting_imports(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_limits, "WAITING_IMPORTS", 2)

    def add(account_id: str, path: str) -> str:
        source = {"url": "http://host/a"}
        new = Import(new_id(), account_id, path, source, "waiting", None, NOW, None)
        return str(store.write(imports.add, new))

    first = add(store.alice.id, "/input/a")
    add(store.alice.id, "/input/b")
    with pytest.raises(Conflict):
        add(store.alice.id, "/input/c")
    assert add(store.alice.id, "/input/a") == first
    add(store.bob.id, "/input/c")
    store.write(imports.finish, first, None, NOW)
    add(store.alice.id, "/input/c")
