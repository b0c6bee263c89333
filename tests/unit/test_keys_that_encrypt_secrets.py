"""The keys of secrets: a file for the server alone, the newest encrypts, older ones still decrypt, none is lost."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from comfyward.errors import SecretUnreadable, SetupFailed
from comfyward.files.encryption_keys import EncryptionKeys


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "secret.keys"


def test_the_first_text_makes_the_file(path: Path) -> None:
    keys = EncryptionKeys(path)
    assert keys.newest_id is None
    assert not path.exists()

    encrypted = keys.encrypt("hf_token")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "hf_token" not in encrypted.text + path.read_text()
    assert encrypted.key_id == keys.newest_id
    assert encrypted.key_id not in path.read_text()
    assert EncryptionKeys(path).decrypt(encrypted) == "hf_token"


def test_a_new_key_encrypts_and_the_old_one_still_decrypts(path: Path) -> None:
    running = EncryptionKeys(path)
    before = running.encrypt("one")

    EncryptionKeys(path).add()  # a command, beside the running server

    after = running.encrypt("two")
    assert (running.decrypt(before), running.decrypt(after)) == ("one", "two")
    assert after.key_id != before.key_id
    assert running.has(before.key_id)
    assert running.keep_newest() == 1
    assert running.decrypt(after) == "two"
    with pytest.raises(SecretUnreadable, match=before.key_id):
        running.decrypt(before)


def test_a_lost_file_is_said(path: Path) -> None:
    keys = EncryptionKeys(path)
    encrypted = keys.encrypt("one")
    path.unlink()

    assert not keys.has(encrypted.key_id)
    with pytest.raises(SecretUnreadable, match="does not have the key") as lost:
        keys.decrypt(encrypted)
    assert "COMFYWARD_SECRET_KEYS_FILE" in str(lost.value.hint)


def test_a_text_that_was_changed_is_not_read(path: Path) -> None:
    keys = EncryptionKeys(path)
    encrypted = keys.encrypt("one")

    for text in (encrypted.text[:-5] + "AAAA=", "", "x"):
        with pytest.raises(SecretUnreadable):
            keys.decrypt(type(encrypted)(encrypted.key_id, text))


def test_a_file_of_something_else_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not a key\n")

    with pytest.raises(SetupFailed, match="does not hold keys"):
        EncryptionKeys(path).encrypt("one")


def test_servers_that_begin_at_once_lose_no_key(path: Path) -> None:
    begin, texts = threading.Barrier(4), []

    def first(keys: EncryptionKeys) -> None:
        begin.wait()
        texts.append(keys.encrypt("one"))

    threads = [threading.Thread(target=first, args=(EncryptionKeys(path),)) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert [EncryptionKeys(path).decrypt(text) for text in texts] == ["one"] * 4
