"""Finds the packs that have a node class. The first source that has an answer wins:

ComfyUI's own classes, the operator's table, the notes in the graph, the registry, ComfyUI-Manager's map.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from comfyward.environments.finding.core import core_offer
from comfyward.environments.finding.map_files import MapFiles
from comfyward.environments.finding.node_map import NodeMap
from comfyward.environments.finding.notes import noted_offer
from comfyward.environments.finding.registry_answers import RegistryAnswers
from comfyward.environments.finding.shares import Shares
from comfyward.errors import SetupFailed
from comfyward.workflows.noted import Noted
from comfyward.workflows.offer import Offer, Offers

log = logging.getLogger(__name__)

PATIENCE_S = 3.0
NOTHING: Mapping[str, Noted] = MappingProxyType({})


class Finder:
    """The sources of offers, in their order."""

    def __init__(self, table: Mapping[str, Offer], registry: RegistryAnswers, map_files: MapFiles) -> None:
        self._table, self._registry, self._map_files = table, registry, map_files
        self._shares = Shares()

    def known(self, classes: Sequence[str], noted: Mapping[str, Noted] = NOTHING) -> Offers:
        """The offers by class of what is known here; nobody is asked. Classes without any are left out."""
        sure = {name: (offer,) for name in classes if (offer := self._first(name, noted)) is not None}
        unsure = [name for name in dict.fromkeys(classes) if name not in sure]
        return {**sure, **(self._mapped(unsure) if unsure else {})}

    async def find(
        self,
        account_id: str,
        classes: Sequence[str],
        noted: Mapping[str, Noted] = NOTHING,
        patience_s: float = PATIENCE_S,
    ) -> Offers:
        """As `known`, after asking the registry, for a few seconds, about what only it and the map may know.

        Beyond the account's share, the registry is not asked.
        """
        unasked = self._registry.unasked(self._unsure(classes, noted))
        with self._shares.question(account_id, len(unasked)) as allowed:
            if allowed:
                await asyncio.to_thread(self._registry.ask, unasked[:allowed], patience_s)
        return await asyncio.to_thread(self.known, classes, noted)

    async def find_named(self, words: str) -> tuple[Offer, ...]:
        """The packs of ComfyUI-Manager's map that have such a name, the most popular first."""
        return await asyncio.to_thread(self._named, words)

    def ask(
        self, classes: Sequence[str], noted: Mapping[str, Noted] = NOTHING, patience_s: float = PATIENCE_S
    ) -> Offers:
        """As `find`, in this thread, for the operator."""
        self._registry.ask(self._unsure(classes, noted), patience_s)
        return self.known(classes, noted)

    @property
    def is_registry_silent(self) -> bool:
        """True if the registry is not asked: it did not answer lately, or there is none."""
        return self._registry.is_silent

    def _unsure(self, classes: Sequence[str], noted: Mapping[str, Noted]) -> list[str]:
        return [name for name in classes if self._before_registry(name, noted) is None]

    def _first(self, name: str, noted: Mapping[str, Noted]) -> Offer | None:
        return self._before_registry(name, noted) or self._registry.known(name)

    def _before_registry(self, name: str, noted: Mapping[str, Noted]) -> Offer | None:
        return core_offer(name) or self._table.get(name) or noted_offer(noted.get(name))

    def _mapped(self, names: Sequence[str]) -> dict[str, tuple[Offer, ...]]:
        found = self._map()
        return found.offers(names) if found is not None else {}

    def _named(self, words: str) -> tuple[Offer, ...]:
        found = self._map()
        return found.named(words) if found is not None else ()

    def _map(self) -> NodeMap | None:
        """The map; None if there is none that can be read."""
        try:
            return self._map_files.get()
        except SetupFailed as error:
            log.warning("%s", error.message, extra={"action": "no_node_map"})
            return None
