"""Secrets of accounts: encrypted in the database, sent for their own account and hosts, through a change of keys."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from comfyward.dispatch.named_secrets import NamedSecrets, NewSecret
from comfyward.errors import Conflict, FetchFailed, InvalidRequest, NotFound, SecretUnreadable
from comfyward.files.encryption_keys import EncryptionKeys
from comfyward.files.model_sites import ModelSites
from comfyward.runs.files import Url
from comfyward.store import accounts, named_secrets
from comfyward.store.named_secrets import SHARED
from comfyward.store.schema import named_secrets as table
from tests.store.conftest import Store

GATED = Url("https://huggingface.co/org/model/resolve/main/a.safetensors")
REFUSAL = FetchFailed("'huggingface.co' answered 401.", http_status=401, error_code="GatedRepo")


class Keeper:
    """Named secrets as a server has them, called from a test that is not asynchronous."""

    def __init__(self, store: Store, path: Path) -> None:
        self.keys = EncryptionKeys(path)
        self.secrets = NamedSecrets(store.db, self.keys, ModelSites())

    def put(self, account_id: str, name: str, value: str, *hosts: str, **more: str) -> None:
        asyncio.run(self.secrets.put(account_id, NewSecret(name, value, hosts, **more)))

    def headers(self, account_id: str, source: Url = GATED) -> dict[str, str]:
        return dict(asyncio.run(self.secrets.with_secret(account_id, source)).headers)

    def names(self, account_id: str) -> list[str]:
        return [secret.name for secret in asyncio.run(self.secrets.of(account_id))]

    def hint(self, account_id: str, source: Url = GATED) -> str:
        return str(asyncio.run(self.secrets.explained(account_id, source, REFUSAL)).hint)


@pytest.fixture
def keeper(store: Store, tmp_path: Path) -> Keeper:
    return Keeper(store, tmp_path / "secret.keys")


@pytest.fixture
def owner(store: Store) -> Callable[[str], str]:
    return lambda name: str(store.write(accounts.create, name, "member", None, 1).id)


def rows(store: Store) -> list[Any]:
    return list(store.read(lambda conn: conn.execute(select(table)).all()))


def test_a_value_is_sent_to_its_hosts_and_is_nowhere_in_the_database(store: Store, keeper: Keeper) -> None:
    ada = store.alice.id
    keeper.put(ada, "HF_TOKEN", " hf_abc\n")
    keeper.put(ada, "MINE", "Basic abc", "*.models.example", header="X-Key")

    assert keeper.headers(ada) == {"Authorization": "Bearer hf_abc"}
    assert keeper.headers(ada, Url("https://a.models.example/m")) == {"X-Key": "Basic abc"}
    for elsewhere in ("http://huggingface.co/a", "https://cdn.huggingface.co/a", "https://models.example/m"):
        assert keeper.headers(ada, Url(elsewhere)) == {}
    assert "hf_abc" not in str(rows(store))
    assert "Basic abc" not in str(rows(store))


def test_two_accounts_never_use_each_others(keeper: Keeper, owner: Callable[[str], str]) -> None:
    ann, ben = owner("ann"), owner("ben")
    keeper.put(ann, "HF_TOKEN", "hf_of_ann")

    assert keeper.headers(ben) == {}
    assert keeper.names(ben) == []
    assert "store a token" in keeper.hint(ben)
    keeper.put(ben, "HF_TOKEN", "hf_of_ben")
    assert keeper.headers(ann) == {"Authorization": "Bearer hf_of_ann"}
    assert keeper.headers(ben) == {"Authorization": "Bearer hf_of_ben"}


def test_a_row_that_is_moved_to_another_account_is_not_sent(
    store: Store, keeper: Keeper, owner: Callable[[str], str]
) -> None:
    ann, ben = owner("ann"), owner("ben")
    keeper.put(ann, "HF_TOKEN", "hf_of_ann")
    store.write(lambda conn: conn.execute(table.update().values(account_id=ben)).rowcount)

    assert keeper.headers(ben) == {}


def test_one_that_is_shared_is_for_all_but_an_own_one_comes_first(
    store: Store, keeper: Keeper, owner: Callable[[str], str]
) -> None:
    ann, ben = owner("ann"), owner("ben")
    keeper.put(SHARED, "HF_TOKEN", "hf_of_all")
    keeper.put(ann, "MY_TOKEN", "hf_of_ann", "huggingface.co")

    assert keeper.headers(ann) == {"Authorization": "Bearer hf_of_ann"}
    assert keeper.headers(ben) == {"Authorization": "Bearer hf_of_all"}
    assert keeper.names(ann) == ["MY_TOKEN", "HF_TOKEN"]
    with pytest.raises(NotFound):
        store.write(named_secrets.remove, ben, "HF_TOKEN")
    store.write(named_secrets.remove, SHARED, "HF_TOKEN")
    assert keeper.headers(ben) == {}


def test_a_header_that_the_file_brings_stays(store: Store, keeper: Keeper) -> None:
    keeper.put(store.alice.id, "HF_TOKEN", "hf_abc")
    own = replace(GATED, headers=(("authorization", "Bearer mine"),))

    assert keeper.headers(store.alice.id, own) == {"authorization": "Bearer mine"}


def test_a_secret_is_replaced_deleted_and_goes_with_its_account(
    store: Store, keeper: Keeper, owner: Callable[[str], str]
) -> None:
    ann = owner("ann")
    keeper.put(ann, "HF_TOKEN", "old")
    keeper.put(ann, "HF_TOKEN", "new", "huggingface.co")
    assert keeper.headers(ann) == {"Authorization": "Bearer new"}
    assert keeper.names(ann) == ["HF_TOKEN"]

    store.write(named_secrets.remove, ann, "HF_TOKEN")
    with pytest.raises(NotFound):
        store.write(named_secrets.remove, ann, "HF_TOKEN")
    keeper.put(ann, "HF_TOKEN", "again")
    store.write(accounts.retire, ann, 2)
    store.write(accounts.erase, ann)
    assert rows(store) == []


def test_when_it_was_last_used_is_seen(store: Store, keeper: Keeper) -> None:
    ada = store.alice.id
    keeper.put(ada, "HF_TOKEN", "hf_abc")
    [secret] = asyncio.run(keeper.secrets.of(ada))
    assert secret.used_at is None

    keeper.headers(ada)

    [secret] = asyncio.run(keeper.secrets.of(ada))
    assert secret.used_at is not None


def test_a_name_of_no_site_needs_hosts(store: Store, keeper: Keeper) -> None:
    with pytest.raises(InvalidRequest, match="hosts"):
        keeper.put(store.alice.id, "MINE", "abc")
    assert rows(store) == []


def test_an_account_has_a_limit(store: Store, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named_secrets, "MOST", 2)
    for name in ("A", "B", "B"):
        keeper.put(store.alice.id, name, "abc", "a.example")

    with pytest.raises(Conflict, match="limit"):
        keeper.put(store.alice.id, "C", "abc", "a.example")


def test_keys_are_changed_without_losing_a_secret(store: Store, keeper: Keeper) -> None:
    ada = store.alice.id
    keeper.put(ada, "HF_TOKEN", "hf_abc")
    keeper.put(SHARED, "CIVITAI_TOKEN", "abc")
    before = {row.key_id for row in rows(store)}

    keeper.keys.add()
    assert keeper.headers(ada) == {"Authorization": "Bearer hf_abc"}
    assert asyncio.run(keeper.secrets.encrypt_again()) == 2
    assert keeper.keys.keep_newest() == 1

    assert {row.key_id for row in rows(store)} == {keeper.keys.newest_id} != before
    assert keeper.headers(ada) == {"Authorization": "Bearer hf_abc"}
    assert asyncio.run(keeper.secrets.encrypt_again()) == 0


def test_a_lost_key_is_said_and_nothing_is_sent(
    store: Store, keeper: Keeper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ada = store.alice.id
    keeper.put(ada, "HF_TOKEN", "hf_abc")
    other = Keeper(store, tmp_path / "of-another-server.keys")

    assert other.headers(ada) == {}
    assert "HF_TOKEN cannot be read" in other.hint(ada)
    [secret] = asyncio.run(other.secrets.of(ada))
    assert not other.secrets.is_readable(secret)
    with pytest.raises(SecretUnreadable, match="does not have the key"):
        other.put(ada, "HF_TOKEN", "hf_new")
    with caplog.at_level(logging.ERROR):
        asyncio.run(other.secrets.prepare())
    assert "1 secrets cannot be read" in caplog.text
    assert secret.key_id in caplog.text

    other.keys.add()  # an admin begins anew
    other.put(ada, "HF_TOKEN", "hf_new")
    assert other.headers(ada) == {"Authorization": "Bearer hf_new"}


def test_an_account_is_told_which_token_is_missing(store: Store, keeper: Keeper) -> None:
    ada = store.alice.id
    assert "accept its licence at https://huggingface.co/org/model" in keeper.hint(ada)

    keeper.put(ada, "HF_TOKEN", "hf_abc")

    assert "token in HF_TOKEN has no access" in keeper.hint(ada)


def test_names_that_differ_in_case_alone_are_refused(keeper: Keeper, owner: Callable[[str], str]) -> None:
    anna = owner("anna")
    keeper.put(anna, "MY_TOKEN", "one", "models.example.com")

    with pytest.raises(Conflict, match="There is a secret 'MY_TOKEN', whose name differs in small and capital letters"):
        keeper.put(anna, "my_token", "two", "models.example.com")

    keeper.put(anna, "MY_TOKEN", "three", "models.example.com")
    keeper.put(owner("ben"), "my_token", "four", "models.example.com")
    assert keeper.names(anna) == ["MY_TOKEN"]
