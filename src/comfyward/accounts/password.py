"""Passwords: what a good one is, and how one is kept (argon2id)."""

from __future__ import annotations

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from comfyward.errors import InvalidPassword

SHORTEST, LONGEST = 10, 200

_hasher = PasswordHasher()


@cache
def _nobody() -> str:
    """What a login is checked against when nobody has the name, so that an answer takes as long as any other."""
    return _hasher.hash("nobody has this password")


def hash_password(password: str) -> str:
    """The hash to keep; takes about 0.1 s of CPU. Raises InvalidPassword for a password that is too short or long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidPassword(f"A password must have {SHORTEST} to {LONGEST} characters.")
    return _hasher.hash(password)


def is_password(password: str, hashed: str | None) -> bool:
    """Whether a password is the one that was hashed; False for an account without one. As slow as `hash_password`."""
    try:
        return _hasher.verify(hashed or _nobody(), password[: LONGEST + 1]) and hashed is not None
    except (Argon2Error, InvalidHashError):
        return False
