"""The packs and versions that a workflow wants and its environment lacks, and the spec of an environment with them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from comfyward.environments.source import Release, parse_pack
from comfyward.environments.spec import Spec, checked
from comfyward.errors import InvalidEnvironment
from comfyward.workflows.offer import Offer, Offers, Origin

MAX_PACKS, MAX_CLASSES, MAX_NAME = 40, 200, 300


@dataclass(frozen=True)
class WantedPack:
    """A pack that has missing classes. `origin` says where it was found: a workflow's own word is a stranger's."""

    name: str
    source: str
    origin: str
    confidence: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """The packs, and the versions of ComfyUI such as ">=0.24.1", or ""."""

    packs: tuple[WantedPack, ...] = ()
    comfyui: str = ""

    def __bool__(self) -> bool:
        return bool(self.packs or self.comfyui)

    @classmethod
    def of(cls, offers: Offers) -> Wanted:
        """The best offer for each class, where it can be added, and the class has a name that can be shown."""
        best = {name: found[0] for name, found in offers.items() if found and _is_shown(name)}
        classes: dict[str, list[str]] = {}
        by_source: dict[str, Offer] = {}
        for name, offer in best.items():
            if offer.source:
                by_source.setdefault(offer.source, offer)
                classes.setdefault(offer.source, []).append(name)
        packs = (
            WantedPack(each.pack, source, str(each.origin), str(each.confidence), tuple(classes[source][:MAX_CLASSES]))
            for source, each in by_source.items()
        )
        versions = dict.fromkeys(offer.comfyui for offer in best.values() if offer.comfyui)
        return cls(tuple(packs)[:MAX_PACKS], ",".join(versions))

    def spec(self, former: Spec | None, releases: Sequence[str], default: str) -> Spec:
        """The spec with these packs, from a former one or from none. Raises InvalidEnvironment.

        A release of ComfyUI without the classes is replaced by the oldest known one that has them.
        """
        spec = former or Spec(Release(default))
        if isinstance(spec.comfyui, Release) and not self.is_in(spec.comfyui.version):
            newer = next((each for each in sorted(releases, key=Version) if self.is_in(each)), None)
            spec = dataclasses.replace(spec, comfyui=Release(newer)) if newer else spec
        self._check_names(spec)
        return checked(spec.with_packs(parse_pack(pack.source) for pack in self.packs))

    def _check_names(self, spec: Spec) -> None:
        """Raises InvalidEnvironment if a pack that a workflow's own file names took the place of another."""
        named = [parse_pack(pack.source) for pack in self.packs if pack.origin == Origin.WORKFLOW]
        for pack, present in spec.from_elsewhere(named):
            raise InvalidEnvironment(
                f"The workflow's own file names {pack}, but the environment has {present}.",
                hint="Make a new draft, or add the pack by its source if you trust it.",
            )

    def is_in(self, version: str) -> bool:
        """True if a version has the classes; also if the versions that have them cannot be read."""
        try:
            return SpecifierSet(self.comfyui).contains(version, prereleases=True)
        except InvalidSpecifier:
            return True


def wanted_json(wanted: Wanted) -> list[Mapping[str, Any]]:
    """The packs as stored."""
    return [dataclasses.asdict(pack) for pack in wanted.packs]


def wanted_from(packs: Iterable[Mapping[str, Any]], comfyui: str) -> Wanted:
    """The packs and versions, from what was stored."""
    return Wanted(tuple(WantedPack(**{**pack, "classes": tuple(pack["classes"])}) for pack in packs), comfyui)


def _is_shown(name: str) -> bool:
    """False for a class whose name, which the workflow's maker chose, would hide or turn round what stands beside."""
    return len(name) <= MAX_NAME and name.isprintable()


def name_for(title: str, taken: Iterable[str]) -> str:
    """A name for an environment that a workflow's title suggests, and that no other has."""
    known = {each.casefold() for each in taken} | {"default"}
    return next(name for name in _names(title) if name.casefold() not in known)


def _names(title: str) -> Iterator[str]:
    base = re.sub(r"[^a-z0-9]+", "-", title.casefold()).strip("-")[:40].strip("-") or "draft"
    yield base
    number = 1
    while True:
        number += 1
        yield f"{base}-{number}"
