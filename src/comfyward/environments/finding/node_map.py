"""ComfyUI-Manager's map of node classes to repositories, with the registry ids and stars of these.

The files are those of the package `comfyui-manager`, or newer ones of its repository.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from comfyward.environments.finding.notes import source_or_none
from comfyward.environments.source import is_official
from comfyward.errors import SetupFailed
from comfyward.workflows.offer import Confidence, Offer, Origin

CLASSES, PACKS, STARS = FILES = ("extension-node-map.json", "custom-node-list.json", "github-stats.json")
MAX_OFFERS = 5
MAX_CLASS_LENGTH = 300  # what patterns are tried on


class _About(msgspec.Struct):
    nodename_pattern: str = ""
    preemptions: list[str] = []


class _Pack(msgspec.Struct):
    id: str = ""
    reference: str = ""
    files: list[str] = []


class _Packs(msgspec.Struct):
    custom_nodes: list[_Pack]


class _Stats(msgspec.Struct):
    stars: int = 0


@dataclass(frozen=True)
class _Claim:
    """A repository that claims a class, and what speaks for it."""

    address: str
    is_preempting: bool
    is_registered: bool
    others: int  # of the graph's other missing classes, the number that it has too
    stars: int
    by_pattern: bool = False

    @property
    def rank(self) -> tuple[bool, bool, int, int, str]:
        """Sorts the best first."""
        return not self.is_preempting, not self.is_registered, -self.others, -self.stars, self.address


class NodeMap:
    """The map in memory."""

    def __init__(self, folder: Path) -> None:
        """Reads the files. Raises SetupFailed."""
        try:
            classes = msgspec.json.decode((folder / CLASSES).read_bytes(), type=dict[str, tuple[list[str], _About]])
            self._registered = set(_registered(folder / PACKS))
            stats = folder / STARS
            found = msgspec.json.decode(stats.read_bytes(), type=dict[str, _Stats]) if stats.exists() else {}
        except (OSError, msgspec.MsgspecError) as error:
            raise SetupFailed(f"The map of node classes in {folder} cannot be read: {error}") from error
        self._addresses = tuple(address for address in classes if not is_official(address))
        self._stars = {address: each.stars for address, each in found.items()}
        self._by_class: dict[str, tuple[str, ...]] = {}
        self._preempting: dict[str, str] = {}
        self._patterns: list[tuple[re.Pattern[str], str]] = []
        for address, (names, about) in classes.items():
            self._add(address, names, about)

    def offers(self, names: Sequence[str]) -> dict[str, tuple[Offer, ...]]:
        """The offers for each of a graph's missing classes, the best first."""
        claimed = {name: self._claiming(name) for name in names}
        counts = Counter(address for addresses, _ in claimed.values() for address in addresses)
        return {name: tuple(self._ranked(name, *found, counts)) for name, found in claimed.items() if found[0]}

    def named(self, words: str) -> tuple[Offer, ...]:
        """The packs whose repositories have such a name, those with most stars first."""
        parts = [_bare(word) for word in words.split() if _bare(word)]
        claims = [
            _Claim(address, False, _key(address) in self._registered, 0, self._stars.get(address, 0))
            for address in self._addresses
            if parts and all(part in _bare(address.removeprefix("https://github.com/")) for part in parts)
        ]
        ranked = sorted(claims, key=lambda claim: (-claim.stars, claim.address))[:MAX_OFFERS]
        return tuple(_offer(claim, Confidence.POSSIBLE) for claim in ranked)

    def _add(self, address: str, names: Iterable[str], about: _About) -> None:
        if is_official(address):
            return  # it is no pack, and our own table knows more
        for name in names:
            self._by_class[name] = (*self._by_class.get(name, ()), address)
        for name in about.preemptions:
            self._preempting.setdefault(name, address)
        if about.nodename_pattern:
            try:
                self._patterns.append((re.compile(about.nodename_pattern), address))
            except re.error:
                return  # its other classes are usable

    def _claiming(self, name: str) -> tuple[tuple[str, ...], bool]:
        """(the repositories that claim a class, True if they do so by pattern)."""
        exact = self._by_class.get(name, ())
        preempting = self._preempting.get(name)
        if preempting is not None and preempting not in exact:
            exact = (*exact, preempting)
        if exact:
            return exact, False
        matching = (address for pattern, address in self._patterns if pattern.search(name[:MAX_CLASS_LENGTH]))
        return tuple(dict.fromkeys(matching)), True

    def _ranked(self, name: str, addresses: Sequence[str], by_pattern: bool, counts: Counter[str]) -> Iterator[Offer]:
        claims = [
            _Claim(
                address,
                is_preempting=self._preempting.get(name) == address,
                is_registered=_key(address) in self._registered,
                others=counts[address] - 1,
                stars=self._stars.get(address, 0),
                by_pattern=by_pattern,
            )
            for address in addresses
        ]
        is_sure = len(claims) == 1 or any(claim.is_preempting for claim in claims)
        for number, claim in enumerate(sorted(claims, key=lambda claim: claim.rank)[:MAX_OFFERS]):
            yield _offer(claim, Confidence.LIKELY if is_sure and number == 0 else Confidence.POSSIBLE)


def _offer(claim: _Claim, confidence: Confidence) -> Offer:
    origin = Origin.PATTERN if claim.by_pattern else Origin.MAP
    is_file = claim.address.endswith((".py", ".zip"))
    source = None if is_file else source_or_none(f"git+{claim.address}@HEAD")
    return Offer(source.name if source else claim.address, origin, confidence, str(source) if source else None)


def _registered(path: Path) -> Iterator[str]:
    """The repositories of packs that have an id in the registry."""
    if path.exists():
        for pack in msgspec.json.decode(path.read_bytes(), type=_Packs).custom_nodes:
            if pack.id:
                yield from map(_key, (pack.reference, *pack.files))


def _bare(text: str) -> str:
    """A name without what people write differently."""
    return re.sub(r"[^a-z0-9/]", "", text.casefold())


def _key(address: str) -> str:
    return address.rstrip("/").removesuffix(".git").casefold()
