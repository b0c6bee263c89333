"""The keys that encrypt accounts' secrets: lines of a file, the newest first. The newest encrypts, all decrypt."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from comfyward.errors import SecretUnreadable, SetupFailed


@dataclass(frozen=True)
class Encrypted:
    """A text that only those who have the key can read. `key_id` says which key it is, and nothing about it."""

    key_id: str
    text: str


class EncryptionKeys:
    """The keys of one file, which is read again when it has changed. Made with one key when something is encrypted.

    Keys and texts are Fernet's (`cryptography`): AES-128-CBC with HMAC-SHA256.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._read_as: tuple[int, int] | None = None
        self._keys: tuple[str, ...] = ()

    @property
    def newest_id(self) -> str | None:
        """The id of the key that encrypts; None as long as there is none. Raises SetupFailed."""
        keys = self._current()
        return _id_of(keys[0]) if keys else None

    def has(self, key_id: str) -> bool:
        """True if texts of this key can be decrypted. Raises SetupFailed."""
        return key_id in map(_id_of, self._current())

    def encrypt(self, text: str) -> Encrypted:
        """Raises SetupFailed for a file that holds something else."""
        keys = self._current() or self.add()
        return Encrypted(_id_of(keys[0]), Fernet(keys[0]).encrypt(text.encode()).decode())

    def decrypt(self, encrypted: Encrypted) -> str:
        """Raises SecretUnreadable, SetupFailed."""
        keys = self._current()
        try:
            return MultiFernet([Fernet(key) for key in keys]).decrypt(encrypted.text).decode() if keys else _fail()
        except InvalidToken as error:
            raise SecretUnreadable(
                f"A secret cannot be read: this server does not have the key that encrypted it ({encrypted.key_id})."
            ) from error

    def add(self) -> tuple[str, ...]:
        """Makes a new key, which encrypts from now on. Returns all keys. Raises SetupFailed."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.path.with_name(f"{self.path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two processes that begin at once must not lose each other's key
            self._write((Fernet.generate_key().decode(), *self._current()))
        return self._current()

    def keep_newest(self) -> int:
        """Removes all keys but the newest. Returns the number of those removed."""
        keys = self._current()
        if len(keys) > 1:
            self._write(keys[:1])
        return max(0, len(keys) - 1)

    def _write(self, keys: Sequence[str]) -> None:
        fresh = self.path.with_name(f"{self.path.name}.new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("".join(f"{key}\n" for key in keys))
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self.path)

    def _current(self) -> tuple[str, ...]:
        with self._lock:
            try:
                status = self.path.stat()
                if (status.st_mtime_ns, status.st_ino) != self._read_as:
                    self._keys = _parsed(self.path)
                    self._read_as = (status.st_mtime_ns, status.st_ino)
            except FileNotFoundError:
                self._keys, self._read_as = (), None
            except OSError as error:
                raise SetupFailed(f"The file {self.path} cannot be read: {error.strerror}.") from error
            return self._keys


def _fail() -> str:
    raise InvalidToken


def _parsed(path: Path) -> tuple[str, ...]:
    keys = tuple(line.strip() for line in path.read_text().splitlines() if line.strip())
    try:
        for key in keys:
            Fernet(key)
    except ValueError as error:
        hint = "Each line is one key, as 'comfyward db new-key' writes it."
        raise SetupFailed(f"The file {path} does not hold keys that encrypt secrets.", hint=hint) from error
    return keys


def _id_of(key: str) -> str:
    """A name of a key that says nothing about it."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]
