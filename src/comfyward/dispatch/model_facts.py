"""The size, licence and gate of models, as their origins tell them to a check that waits a few seconds at most.

Answers are kept for ten minutes, for the account that asked: what one may see says nothing of another. That a token is
wanted is not kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from comfyward.dispatch.origins import Origins
from comfyward.dispatch.site_files import SiteFiles
from comfyward.errors import ComfywardError, Unavailable
from comfyward.files.model_sites import Site, SiteFile
from comfyward.runs.files import Url
from comfyward.workflows.check import NOT_ASKED, OriginFacts

PATIENCE_S = 4.0
KEPT_S = 600.0
MAX_KEPT = 2000
MAX_ASKED = 60  # models of one check
MAX_LICENCE = 200


class ModelFacts:
    def __init__(self, site_files: SiteFiles, origins: Origins) -> None:
        self._site_files, self._origins = site_files, origins
        self._kept: dict[tuple[str, str], tuple[float, Any]] = {}  # by account and URL: (when it was told, what)

    async def of(
        self, account_id: str, urls: Iterable[str], patience_s: float = PATIENCE_S
    ) -> Mapping[str, OriginFacts]:
        """The facts by URL of those whose origins have answered in time, now or before."""
        wanted = list(dict.fromkeys(urls))
        known = {url: found for url in wanted if (found := self._known(account_id, url)) is not None}
        asking = {
            url: asyncio.create_task(self._ask(account_id, url)) for url in wanted[:MAX_ASKED] if url not in known
        }
        try:
            if asking:
                await asyncio.wait(asking.values(), timeout=patience_s)
        finally:
            for task in asking.values():
                task.cancel()
            await asyncio.gather(*asking.values(), return_exceptions=True)
        told = {url: task.result() for url, task in asking.items() if not task.cancelled() and not task.exception()}
        return {**known, **told}

    async def _ask(self, account_id: str, url: str) -> OriginFacts:
        try:
            facts = await self._facts_of(account_id, url)
        except Unavailable:
            return NOT_ASKED
        except ComfywardError as error:  # no file, or one that the guard refuses
            facts = OriginFacts(problem=error.message, hint=error.hint)
        if not facts.is_gated:  # a token may be stored, or a licence accepted, at any moment
            self._remember(account_id, url, facts)
        return facts

    async def _facts_of(self, account_id: str, url: str) -> OriginFacts:
        """Raises ComfywardError."""
        at_site = await self._site_files.of(account_id, url)
        found = await self._site_files.facts(account_id, Url(url))
        return OriginFacts(
            size=found.size,
            sha256=found.sha256,
            licence=None if at_site is None else await self._licence(account_id, at_site),
            is_gated=found.is_gated if found.problem is None or found.is_gated else None,
            page=None if at_site is None else at_site.page,
            token=None if at_site is None else at_site.site.token_name,
            problem=None if found.problem is None else found.problem.message,
            hint=None if found.problem is None else found.problem.hint,
        )

    async def _licence(self, account_id: str, file: SiteFile) -> str | None:
        """The licence of the model on a page; None if its site does not tell it."""
        known = self._known(account_id, f"licence of {file.page}")
        if known is not None:
            return str(known) or None
        try:
            found = await self._licence_at(account_id, file) or ""
        except ComfywardError:
            return None
        self._remember(account_id, f"licence of {file.page}", found)
        return found or None

    async def _licence_at(self, account_id: str, file: SiteFile) -> str | None:
        page = urlsplit(file.page)
        base, path = f"{page.scheme}://{page.netloc}", page.path.strip("/")
        match file.site:
            case Site.HUGGING_FACE:
                about = await self._describe(account_id, f"{base}/api/models/{path}")
                return hugging_face_licence(about)
            case Site.CIVITAI:
                about = await self._describe(account_id, f"{base}/api/v1/{path}")
                if "modelId" in about:
                    about = await self._describe(account_id, f"{base}/api/v1/models/{about['modelId']}")
                return civitai_licence(about)

    async def _describe(self, account_id: str, url: str) -> dict[str, Any]:
        about = await self._origins.description_at(Url(url), account_id)
        return about if isinstance(about, dict) else {}

    def _known(self, account_id: str, what: str) -> Any:
        at, found = self._kept.get((account_id, what), (0.0, None))
        return found if found is not None and time.monotonic() - at < KEPT_S else None

    def _remember(self, account_id: str, what: str, found: Any) -> None:
        self._kept.pop((account_id, what), None)
        while len(self._kept) >= MAX_KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[account_id, what] = (time.monotonic(), found)


def hugging_face_licence(about: Mapping[str, Any]) -> str | None:
    """The licence in Hugging Face's description of a repository (its card's `license`, or its name for another one)."""
    card = about.get("cardData")
    told = card if isinstance(card, dict) else {}
    named = [told.get("license_name"), told.get("license")]
    if told.get("license") != "other":
        named.reverse()
    return next((text for each in named if (text := _plain(each))), None)


def civitai_licence(about: Mapping[str, Any]) -> str | None:
    """The uses that Civitai's description of a model permits, in words."""
    if "allowCommercialUse" not in about:
        return None
    uses = about["allowCommercialUse"]
    sold = [str(use) for use in (uses if isinstance(uses, list) else [uses]) if str(use) != "None"]
    terms = [f"commercial use: {', '.join(sold)}" if sold else "no commercial use"]
    terms += [] if about.get("allowNoCredit") else ["name its creator"]
    terms += [] if about.get("allowDerivatives") else ["no derivatives"]
    return _plain("; ".join(terms))


def _plain(text: object) -> str | None:
    return text if isinstance(text, str) and 0 < len(text) <= MAX_LICENCE and text.isprintable() else None
