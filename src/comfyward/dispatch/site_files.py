"""Files at sites of models: an address in any form becomes that of the file, and origins are asked about files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from comfyward.dispatch.named_secrets import NamedSecrets
from comfyward.dispatch.origins import Origins
from comfyward.files.file_facts import FileFacts
from comfyward.files.guard import Guard
from comfyward.files.model_sites import ModelSites, SiteFile, Undecided
from comfyward.runs.files import Source, Url


class SiteFiles:
    def __init__(self, sites: ModelSites, guard: Guard, origins: Origins, secrets: NamedSecrets) -> None:
        self.sites, self._guard, self._origins, self._secrets = sites, guard, origins, secrets

    async def of(self, account_id: str, address: str) -> SiteFile | None:
        """The file that an address of a site leads to; Civitai is asked if the address names no version.

        None for an address of anybody else. Raises NotAFile for a page that leads to no file, FetchFailed if Civitai
        cannot say, Unavailable.
        """
        match self.sites.file_of(address):
            case Undecided() as asked:
                self._guard.check_url(asked.url, "The address of Civitai")
                bare = Url(asked.url, headers=_bearer(asked.token))
                source = await self._secrets.with_secret(account_id, bare)
                return self.sites.decided(asked, await self._origins.description_at(source, account_id))
            case found:
                return found

    async def resolved(self, account_id: str, source: Url) -> Url:
        """A source whose URL is that of the file. Raises like `of`.

        A token in the address becomes a header: it is shown nowhere, and no other host gets it.
        """
        if (found := await self.of(account_id, source.url)) is None:
            return source
        own = _bearer(None if _has_authorization(source) else found.token)
        return replace(source, url=found.url, headers=tuple(sorted((*source.headers, *own))))

    async def file_at(self, account_id: str, source: Url, what: str) -> Url:
        """A source, resolved.

        Raises like `of`, and InvalidUrl for one that the guard refuses, naming its URL `what`.
        """
        found = await self.resolved(account_id, source)
        self._guard.check_url(found.url, what)
        return found

    async def files_at(self, account_id: str, sources: Mapping[str, Source]) -> dict[str, Source]:
        """The files of a run, by path: each resolved. Raises like `file_at`."""
        return {
            path: await self.file_at(account_id, source, f"The URL of '{path}'") if isinstance(source, Url) else source
            for path, source in sources.items()
        }

    async def facts(self, account_id: str, source: Url) -> FileFacts:
        """The facts of a file that its origin tells without sending it, to this account. Raises like `file_at`.

        A problem says which token is missing or too weak, and where a licence is accepted.
        """
        bare = await self.file_at(account_id, source, "The URL")
        facts = await self._origins.facts_of(await self._secrets.with_secret(account_id, bare), account_id)
        if facts.problem is None:
            return facts
        return replace(facts, problem=await self._secrets.explained(account_id, bare, facts.problem))

    async def name_of(self, account_id: str, address: str) -> str:
        """The name of a file: as its address tells it, or else its origin; "" if neither does.

        Raises like `file_at`.
        """
        found = await self.of(account_id, address)
        if found is not None and found.name:
            return found.name
        if found is None and (name := urlsplit(address).path.rpartition("/")[2]):
            return unquote(name)
        return (await self.facts(account_id, Url(address))).name or ""


def _has_authorization(source: Url) -> bool:
    return any(name.lower() == "authorization" for name, _ in source.headers)


def _bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    return (("Authorization", f"Bearer {token}"),) if token else ()
