"""Password rules and hashing (argon2id)."""

from __future__ import annotations

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from comfyward.errors import InvalidPassword

SHORTEST, LONGEST = 10, 200

_hasher = PasswordHasher()


@cache
def _nobody() -> str:
    """The hash checked when no account has the name, so that every login takes equally long."""
    return _hasher.hash("nobody has this password")


def hash_password(password: str) -> str:
    """The hash to store. Takes about 0.1 s of CPU. Raises InvalidPassword for one that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidPassword(f"A password must have {SHORTEST} to {LONGEST} characters.")
    return _hasher.hash(password)


def is_password(password: str, hashed: str | None) -> bool:
    """True if a password matches a hash; False without a hash. As slow as `hash_password`."""
    try:
        return _hasher.verify(hashed or _nobody(), password[: LONGEST + 1]) and hashed is not None
    except (Argon2Error, InvalidHashError):
        return False
