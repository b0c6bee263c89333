"""Named secrets at work: stored encrypted, sent to their own hosts, and named where a host refuses a file."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from comfyward.errors import FetchFailed, SecretUnreadable
from comfyward.files.access import Advice, Sent, advice_on
from comfyward.files.encryption_keys import Encrypted, EncryptionKeys
from comfyward.files.model_sites import ModelSites, Site
from comfyward.files.refusal import wants_more
from comfyward.runs.files import Url
from comfyward.runs.named_secret import (
    AUTHORIZATION,
    NamedSecret,
    best_for,
    checked_header,
    checked_hosts,
    checked_name,
    checked_value,
    header_of,
)
from comfyward.store import named_secrets
from comfyward.store.db import Database, now_ms

log = logging.getLogger(__name__)

USE_RESOLUTION_MS = 60 * 1000
_NAMES = {
    Site.HUGGING_FACE: ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN"),
    Site.CIVITAI: ("CIVITAI_TOKEN", "CIVITAI_API_KEY", "CIVITAI_API_TOKEN"),
}


@dataclass(frozen=True)
class NewSecret:
    """A secret as a caller gives it. Without hosts it is for those of the site that its name stands for."""

    name: str
    value: str
    hosts: Sequence[str] = ()
    header: str = AUTHORIZATION


class NamedSecrets:
    def __init__(self, db: Database, keys: EncryptionKeys, sites: ModelSites) -> None:
        self._db, self._keys, self._sites = db, keys, sites

    async def put(self, account_id: str, new: NewSecret) -> NamedSecret:
        """Stores a secret of an account, or (`named_secrets.SHARED`) one for all of them, in place of that name's.

        Raises InvalidRequest, Conflict, and SecretUnreadable as long as this server lacks the keys of the others.
        """
        name, value = checked_name(new.name), checked_value(new.value)
        hosts = checked_hosts(new.hosts or self._usual_hosts(name))
        header = checked_header(new.header)
        await self._check_keys()
        sealed = await asyncio.to_thread(self._keys.encrypt, _bound(account_id, name, value))
        secret = NamedSecret(account_id, name, hosts, header, sealed.key_id, sealed.text, now_ms(), None)
        await self._db.write(named_secrets.put, secret)
        return secret

    async def of(self, account_id: str) -> list[NamedSecret]:
        """The secrets that an account may use: its own, then those that are shared with it."""
        return await self._db.read(named_secrets.of_account, account_id)

    def is_readable(self, secret: NamedSecret) -> bool:
        """False if the key that encrypted it is lost."""
        return self._keys.has(secret.key_id)

    async def sent(self, account_id: str, sources: Mapping[str, Url]) -> dict[str, Url]:
        """The sources of files with the headers of the account's secrets for their hosts, and for no others.

        Headers that a source brings of the same name stay. A secret that cannot be read is left out, and logged.
        """
        if not sources:
            return {}
        known = await self._db.lookup(named_secrets.of_account, account_id)
        chosen = {path: self._chosen(source, known) for path, source in sources.items()} if known else {}
        await self._touch(secret for secret in chosen.values() if secret is not None)
        return {path: self._with(source, chosen.get(path)) for path, source in sources.items()}

    async def with_secret(self, account_id: str, source: Url) -> Url:
        """One source, as `sent` makes it."""
        return (await self.sent(account_id, {"": source}))[""]

    async def advice(self, account_id: str, source: Url, refusal: Mapping[str, object]) -> Advice:
        """Advice on a refusal of a file that was asked for with the account's secrets."""
        secret = self._chosen(source, await self._db.lookup(named_secrets.of_account, account_id))
        if secret is not None and not self.is_readable(secret):
            sent = Sent(unreadable=secret.name)
        else:
            has_own = any(name.lower() == AUTHORIZATION.lower() for name, _ in source.headers)
            sent = Sent(secret.name if secret else None, own_header=has_own)
        return advice_on(self._sites, source.url, refusal, sent)

    async def explained(self, account_id: str, source: Url, problem: FetchFailed) -> FetchFailed:
        """A problem, with advice if its host wants a token, another one, or a licence to be accepted."""
        if not wants_more(problem):
            return problem
        advice = await self.advice(account_id, source, problem.details)
        more = {"secret": advice.secret, "page": advice.page}
        details = {**problem.details, **{name: value for name, value in more.items() if value}}
        return type(problem)(problem.message, hint=advice.hint, **details)

    async def prepare(self) -> None:
        """For the start of a server: encrypts with the newest key, and logs once how many secrets it cannot read."""
        await self.encrypt_again()
        if lost := await self.unreadable():
            message = "%d secrets cannot be read, and are not sent: the keys that encrypted them (%s) are not in %s"
            ids = ", ".join(sorted({secret.key_id for secret in lost}))
            log.error(message, len(lost), ids, self._keys.path, extra={"action": "secret_unreadable"})

    async def encrypt_again(self) -> int:
        """Encrypts with the newest key whatever older ones encrypted, where they are there. Returns their number."""
        if (newest := self._keys.newest_id) is None:
            return 0
        done = 0
        for secret in await self._db.read(named_secrets.all_of_other_keys, newest):
            if self.is_readable(secret):
                again = self._keys.encrypt(self._keys.decrypt(Encrypted(secret.key_id, secret.encrypted)))
                done += await self._db.write(named_secrets.encrypt_again, secret, again.key_id, again.text)
        return done

    async def unreadable(self) -> list[NamedSecret]:
        """The secrets of all accounts whose key is not in the file."""
        found = await self._db.read(named_secrets.all_of_other_keys, self._keys.newest_id or "")
        return [secret for secret in found if not self.is_readable(secret)]

    async def _check_keys(self) -> None:
        """Raises SecretUnreadable rather than to begin with a key of its own beside those of other servers."""
        if self._keys.newest_id is None and (lost := await self.unreadable()):
            raise SecretUnreadable(
                f"This server does not have the key that encrypts the secrets of this installation ({lost[0].key_id})."
            )

    def _usual_hosts(self, name: str) -> tuple[str, ...]:
        site = next((site for site, names in _NAMES.items() if name.upper() in names), None)
        return self._sites.hosts_of(site) if site else ()

    def _chosen(self, source: Url, known: Iterable[NamedSecret]) -> NamedSecret | None:
        brought = {name.lower() for name, _ in source.headers}
        return best_for(source.url, (secret for secret in known if secret.header.lower() not in brought))

    def _with(self, source: Url, secret: NamedSecret | None) -> Url:
        if secret is None:
            return source
        try:
            bound = self._keys.decrypt(Encrypted(secret.key_id, secret.encrypted))
            header = header_of(secret, _unbound(secret, bound))
        except SecretUnreadable as error:
            log.warning("%s is not sent: %s", secret.name, error.message, extra={"action": "secret_unreadable"})
            return source
        return replace(source, headers=tuple(sorted((*source.headers, header))))

    async def _touch(self, used: Iterable[NamedSecret]) -> None:
        now, by_account = now_ms(), defaultdict(set)
        for secret in used:
            if (secret.used_at or 0) < now - USE_RESOLUTION_MS:
                by_account[secret.account_id].add(secret.name)
        for account_id, names in by_account.items():
            await self._db.write(named_secrets.touch, account_id, sorted(names), now)


def _bound(account_id: str, name: str, value: str) -> str:
    """A value that can be read only as this secret's: rows cannot be exchanged in the database."""
    return msgspec.json.encode([account_id, name, value]).decode()


def _unbound(secret: NamedSecret, text: str) -> str:
    """Raises SecretUnreadable for the value of another secret."""
    account_id, name, value = msgspec.json.decode(text)
    if (account_id, name) != (secret.account_id, secret.name):
        raise SecretUnreadable(f"The secret '{secret.name}' is not what was stored under this name.")
    return str(value)
