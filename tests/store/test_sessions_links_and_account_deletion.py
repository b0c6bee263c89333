"""Sessions and one-time links of the website, webhook secrets that rotate, and accounts that are closed and erased."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, Table, func, insert, select

from comfyward.accounts.account import Caller
from comfyward.accounts.storage import Quota
from comfyward.dispatch import transitions
from comfyward.errors import Conflict, NotFound
from comfyward.runs.run import EndReason
from comfyward.store import accounts, editor, files, imports, rehearsals, runs, sessions, uploads, webhooks, workflows
from comfyward.store.db import now_ms
from comfyward.store.imports import Import
from comfyward.store.rehearsals import Rehearsal
from comfyward.store.schema import metadata
from comfyward.store.uploads import Upload
from tests.store.conftest import Store


def test_sessions_are_their_accounts_own(store: Store) -> None:
    now = now_ms()
    first, second = (
        store.write(sessions.begin, Caller(store.alice, None), now, name) for name in ("Firefox", "Safari")
    )
    theirs = store.write(sessions.begin, Caller(store.bob, None), now)

    found = store.read(sessions.find, store.alice.id, now)
    own = next(each for each in found if each.device == "Firefox")
    assert {each.device for each in found} == {"Firefox", "Safari"}
    with pytest.raises(NotFound):
        store.write(sessions.end, store.bob.id, own.id)
    store.write(sessions.end_others, store.alice.id, own.id)
    assert store.read(sessions.caller, first, now) is not None
    assert store.read(sessions.caller, second, now) is None
    assert store.read(sessions.caller, theirs, now) is not None


def test_a_session_in_use_lasts_longer(store: Store) -> None:
    now = now_ms()
    token = store.write(sessions.begin, Caller(store.alice, None), now)
    [session] = store.read(sessions.find, store.alice.id, now)

    store.write(sessions.touch, session.id, now + 1000)

    assert store.read(sessions.caller, token, now + sessions.LASTS_MS + 500) is not None
    assert store.read(sessions.caller, token, now + sessions.LASTS_MS + 1000) is None
    assert store.read(sessions.caller_by_id, session.id, now + sessions.LASTS_MS + 500) is not None
    assert store.read(sessions.caller_by_id, session.id, now + sessions.LASTS_MS + 1000) is None


def test_a_link_works_once_until_it_expires_or_is_replaced(store: Store) -> None:
    now = now_ms()
    former = store.write(sessions.offer_link, store.alice.id, now, 1000)
    link = store.write(sessions.offer_link, store.alice.id, now, 1000)

    with pytest.raises(NotFound):
        store.write(sessions.use_link, former, now)
    with pytest.raises(NotFound):
        store.write(sessions.use_link, link, now + 1000)
    assert store.write(sessions.use_link, link, now + 999).name == "alice"
    with pytest.raises(NotFound):
        store.write(sessions.use_link, link, now)


def test_a_former_secret_signs_for_a_day(store: Store) -> None:
    now = now_ms()
    former = store.alice.webhook_secret
    store.new_run("r", webhook="https://example.com/hook")
    store.write(lambda conn: webhooks.add(conn, runs.get(conn, store.alice.id, "r"), "run.started", now))

    fresh = store.write(accounts.rotate_webhook_secret, store.alice.id, now)

    assert store.read(webhooks.due, now, webhooks.Room())[0].secrets == (fresh, former)
    later = now + accounts.FORMER_SECRET_LASTS_MS
    assert store.read(webhooks.due, later, webhooks.Room())[0].secrets == (fresh,)


def test_imports_and_uploads_are_their_accounts_own(store: Store) -> None:
    now = now_ms()
    wanted = Import("i", store.alice.id, "/models/loras/a", {"url": "https://h/a"}, "waiting", None, now, None)
    store.write(imports.add, wanted)
    store.write(uploads.add, Upload("u", store.alice.id, "/input/a", 5, now), Quota())

    for operation, of in ((imports.get, "i"), (uploads.get, "u")):
        assert store.read(operation, store.alice.id, of).path.endswith("a")
        with pytest.raises(NotFound):
            store.read(operation, store.bob.id, of)
    for operation in (imports.remove, imports.again):
        with pytest.raises(NotFound):
            store.write(operation, store.bob.id, "i")
    assert store.read(imports.waiting, 5, 2) == [wanted]
    assert store.write(imports.finish, "i", "gone", now)
    assert not store.write(imports.finish, "i", None, now)
    assert store.read(imports.find, store.alice.id)[0].failure == "gone"
    store.write(imports.again, store.alice.id, "i")
    assert store.read(imports.waiting, 5, 2)[0].state == "waiting"


def test_changes_since_a_page_was_loaded(store: Store) -> None:
    for run_id, at in (("old", 1000), ("new", 3000)):
        store.new_run(run_id, created_at=at)
    store.new_run("theirs", store.bob, created_at=3000)
    store.new_run("over", created_at=1000)
    store.write(lambda conn: transitions.ended(conn, runs.get(conn, store.alice.id, "over"), EndReason.CANCELLED, 3000))

    assert set(store.read(runs.changed_since, store.alice.id, 2000, 10)) == {"new", "over"}
    assert len(store.read(runs.changed_since, store.alice.id, 0, 2)) == 2


def test_imports_of_one_account_do_not_delay_another(store: Store) -> None:
    for number in range(5):
        url = {"url": f"u{number}"}
        wanted = Import(f"a{number}", store.alice.id, "/models/loras/a", url, "waiting", None, number, None)
        store.write(imports.add, wanted)
    store.write(imports.add, Import("b", store.bob.id, "/models/loras/b", {"url": "u"}, "waiting", None, 9, None))

    assert [each.id for each in store.read(imports.waiting, 6, 2)] == ["a0", "a1", "b"]


def test_public_workflows_are_seen_by_all_and_changed_by_their_owner_alone(store: Store) -> None:
    own = store.default_workflow(store.alice)

    with pytest.raises(NotFound):
        store.read(workflows.visible, store.bob.id, own)
    store.write(workflows.change, store.alice.id, own, {"visibility": "PUBLIC"}, now_ms())
    assert store.read(workflows.visible, store.bob.id, own).id == own
    assert [card.owner for card in store.read(workflows.public_cards, workflows.Search())] == ["alice"]
    for operation, more in (
        (workflows.change, ({"name": "x"}, 1)),
        (workflows.remove, (1,)),
        (workflows.restore, (1,)),
    ):
        with pytest.raises(NotFound):
            store.write(operation, store.bob.id, own, *more)
    store.write(accounts.retire, store.alice.id, now_ms())
    assert store.read(workflows.public_cards, workflows.Search()) == []
    with pytest.raises(NotFound):
        store.read(workflows.visible, store.bob.id, own)


def test_an_account_is_erased_with_all_that_was_its_own(store: Store) -> None:
    now, alice = now_ms(), store.alice.id
    store.new_run("r", webhook="https://example.com/hook")
    store.write(files.put, files.new_file(alice, "/input/a", "d" * 64, 3, "text/plain", now))
    store.write(files.link, alice, {"/models/loras/a": {"url": "https://h/a"}}, now)
    store.write(accounts.create_key, alice, "laptop", now)
    store.write(editor.change_settings, alice, {"Comfy.Locale": "en"})
    store.write(uploads.add, Upload("u", alice, "/input/a", 5, now), Quota())
    store.write(imports.add, Import("i", alice, "/models/loras/a", {"url": "u"}, "waiting", None, now, None))
    repeated = Rehearsal("e", 1, "w", alice, "r", "r", "failed", "No module named 'private'", None, now, now)
    store.write(rehearsals.begin, repeated)
    no_foreign_key = [table for table in metadata.tables.values() if "account_id" in table.c and not table.foreign_keys]
    for table in (others := [each for each in no_foreign_key if not store.read(_rows_of, each, alice)]):
        store.write(_put_row, table, alice)
        store.write(_put_row, table, store.bob.id)
    token = store.write(sessions.begin, Caller(store.alice, None), now)

    store.write(accounts.retire, alice, now)
    assert store.read(sessions.caller, token, now) is None
    assert [account.name for account in store.read(accounts.find)] == ["bob"]
    assert store.read(accounts.retired) == []  # its run is still on its way
    store.write(lambda conn: transitions.ended(conn, runs.get(conn, alice, "r"), EndReason.CANCELLED, now))
    assert store.read(accounts.retired) == [alice]
    store.write(accounts.erase, alice)

    left = {name for name, table in metadata.tables.items() if store.read(_rows_of, table, alice)}
    assert left == set()
    assert store.read(accounts.find)[0].name == "bob"
    assert [table.name for table in others if store.read(_rows_of, table, store.bob.id) != 1] == []


def test_the_last_admin_stays(store: Store) -> None:
    store.write(accounts.set_role, store.alice.id, "admin")

    for operation, more in ((accounts.retire, (1,)), (accounts.set_role, ("member",))):
        with pytest.raises(Conflict):
            store.write(operation, store.alice.id, *more)
    store.write(accounts.set_role, store.bob.id, "admin")
    store.write(accounts.set_role, store.alice.id, "member")


def _put_row(conn: Connection, table: Table, account_id: str) -> None:
    """A row with a value in every column that needs one."""
    needed = [column for column in table.c if not column.nullable and column.server_default is None]
    values = {column.name: account_id[:12] if column.type.python_type is str else 1 for column in needed}
    conn.execute(insert(table).values(**{**values, "account_id": account_id}))


def _rows_of(conn: Connection, table: Table, account_id: str) -> int:
    if "account_id" not in table.c:
        return 0
    return int(conn.scalar(select(func.count()).select_from(table).where(table.c.account_id == account_id)) or 0)
