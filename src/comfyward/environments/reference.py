"""Names of environments and their revisions, as people write them."""

from __future__ import annotations

from dataclasses import dataclass

from comfyward.errors import InvalidEnvironment
from comfyward.runs.run import DEFAULT_ENVIRONMENT


@dataclass(frozen=True)
class Reference:
    """A revision by name and number, or the newest or current one of a name."""

    name: str
    number: int | None = None

    def __str__(self) -> str:
        return self.name if self.number is None else f"{self.name}@{self.number}"

    @classmethod
    def name_in(cls, text: str | None) -> str:
        """The environment's name; "" for the default one. Raises InvalidEnvironment."""
        return "" if text in (None, "", DEFAULT_ENVIRONMENT) else cls.parse(str(text)).name

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Raises InvalidEnvironment."""
        name, found, number = text.partition("@")
        if found and not (number.isascii() and number.isdigit() and len(number) < 10 and 0 < int(number) < 1 << 31):
            raise InvalidEnvironment(f"'{text}' is not a revision such as {name or 'portraits'}@3.")
        return cls(name, int(number) if found else None)
