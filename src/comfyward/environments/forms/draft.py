"""A draft: the spec that another program's file describes, and a report of what it holds beside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement

from comfyward.environments.source import COMFYUI, ComfyUISource, PackSource, Release, parse_comfyui, parse_pack
from comfyward.environments.spec import Spec, is_version, key_of
from comfyward.environments.target import PYTHON
from comfyward.environments.untrusted_texts import parse_requirement
from comfyward.errors import InvalidEnvironment

# Packs that change an installation, which an environment's is never.
NOT_NEEDED = frozenset({"comfyui-manager", "manager", "comfy-pack"})
MAX_SHOWN = 120
MAX_ENTRIES = 5000


@dataclass(frozen=True)
class Lost:
    """Something that does not pass from one form to another, and the reason."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


@dataclass(frozen=True)
class Draft:
    """A spec, and what the file holds that it does not."""

    spec: Spec
    lost: tuple[Lost, ...] = ()


class Drafting:
    """A draft in the making. What cannot be taken over is reported, never raised: the rest is still of use."""

    def __init__(self) -> None:
        self._packs: dict[str, PackSource] = {}
        self._more: list[str] = []
        self._prefer: list[str] = []
        self._lost: list[Lost] = []
        self._comfyui: ComfyUISource | None = None

    def lose(self, what: object, why: str) -> None:
        """Reports something that the draft does not have."""
        self._lost.append(Lost(shown(what), why))

    def comfyui(self, text: str) -> None:
        """Takes ComfyUI's source, as `parse_comfyui` reads it."""
        try:
            self._comfyui = parse_comfyui(text)
        except (InvalidEnvironment, ValueError):
            self.lose(f"ComfyUI {text}", "it is neither a version nor a commit")

    def comfyui_commit(self, commit: object, releases: Mapping[str, str]) -> None:
        """ComfyUI by its commit: the release that has it, else the commit itself. `releases` are versions by commit."""
        if isinstance(commit, str) and commit:
            self.comfyui(releases.get(commit, f"git+{COMFYUI}@{commit}"))

    def pack(self, text: str, *, is_disabled: object = False) -> None:
        """Adds the pack with a source; one that is disabled, not needed or there already is reported."""
        try:
            pack = parse_pack(text)
        except (InvalidEnvironment, ValueError):
            return self.lose(text, "it is not the source of a pack that can be fetched")
        if key_of(pack) in NOT_NEEDED:
            return self.lose(text, "it manages installations, and is not needed")
        if is_true(is_disabled):
            return self.lose(text, "it is disabled")
        if (other := self._packs.setdefault(key_of(pack), pack)) is not pack:
            return self.lose(text, f"{other} has the same name")
        return None

    def take(self, pack: PackSource) -> None:
        """Adds a pack that was copied here, unless one of its name is there already."""
        self._packs.setdefault(key_of(pack), pack)

    def requirement(self, text: str) -> None:
        """Adds a package that is asked for beside what the packs ask for."""
        if (requirement := self._requirement(text)) is not None:
            self._more.append(requirement)

    def preferences(self, lines: Iterable[object]) -> None:
        """Takes versions that packages had where the file was made: they are used where nothing excludes them."""
        for line in map(str, list(lines)[:MAX_ENTRIES]):
            if (requirement := self._requirement(line)) is None:
                continue
            if is_version(requirement):
                self._prefer.append(requirement)
            else:
                self.lose(line, "only a version can be preferred; add it to 'packages.more' if it matters")

    def _requirement(self, text: str) -> str | None:
        """A requirement as specs have it; None, with a report, for what is none."""
        try:
            requirement = parse_requirement(text)
        except InvalidRequirement:
            self.lose(text, "it is not a requirement of a package")
            return None
        if requirement.url:
            self.lose(text, "packages come from the index, not from an address")
            return None
        return str(requirement)

    def models(self, found: object, name_key: str) -> None:
        """Reports the models that the file names."""
        for model in listed(found):
            self.lose(f"model {text_of(model, name_key) or '?'}", "environments hold no models: add it to the files")

    def python(self, version: str) -> None:
        """Reports another Python than environments have; "" if the file does not say."""
        if version and not version.startswith(PYTHON):
            self.lose(f"Python {version}", f"environments have {PYTHON}")

    def draft(self, default: Release) -> Draft:
        """The draft. Without a word on ComfyUI, it has the default release."""
        if self._comfyui is None:
            self.lose("ComfyUI's version", f"the file does not say it; the draft has {default}")
        more, prefer = tuple(dict.fromkeys(self._more)), tuple(dict.fromkeys(self._prefer))
        spec = Spec(self._comfyui or default, tuple(self._packs.values()), more=more, prefer=prefer)
        return Draft(spec, tuple(dict.fromkeys(self._lost)))


def shown(value: object) -> str:
    """A stranger's text on one line, shortened."""
    text = "".join(each if each.isprintable() else "�" for each in str(value)[: MAX_SHOWN + 1])
    return f"{text[:MAX_SHOWN]}…" if len(text) > MAX_SHOWN else text


def table_of(values: object, key: str) -> Mapping[str, Any]:
    """A table in a table; empty if it is missing or something else."""
    found = values.get(key) if isinstance(values, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def listed(values: object) -> list[Mapping[str, Any]]:
    """The tables in a list, or the values of a table; empty for anything else."""
    found = list(values.values()) if isinstance(values, Mapping) else values
    return [each for each in found if isinstance(each, Mapping)][:MAX_ENTRIES] if isinstance(found, list) else []


def text_of(values: Mapping[str, Any], *keys: str) -> str:
    """The first of some keys whose value is a text; "" if there is none."""
    return next((value for key in keys if isinstance(value := values.get(key), str) and value), "")


def is_true(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.casefold() == "true")
