"""Advice when a host refuses a file: which token is missing or too weak, and where a licence is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from comfyward.errors import NotAFile
from comfyward.files.model_sites import ModelSites, Site, SiteFile

GATED = "GatedRepo"  # X-Error-Code of Hugging Face: its page asks to accept a licence


@dataclass(frozen=True)
class Sent:
    """The credentials of a request: a named secret, one that cannot be read any more, or headers of the caller."""

    secret: str | None = None
    unreadable: str | None = None
    own_header: bool = False


@dataclass(frozen=True)
class Advice:
    """A hint, with the secret that it is about, and the page on which a licence is accepted, if there is one."""

    hint: str
    secret: str | None = None
    page: str | None = None


def advice_on(sites: ModelSites, url: str, refusal: Mapping[str, Any], sent: Sent) -> Advice:
    """Advice on a refusal (`http_status`, `error_code`, `web_page`) of the file at a URL."""
    if sent.unreadable:
        hint = f"The secret {sent.unreadable} cannot be read, since the key that encrypted it is lost: store it again."
        return Advice(hint, sent.unreadable)
    file = _file_of(sites, url)
    if file is None:
        return _of_any_host(urlsplit(url).hostname or "", sent)
    if sent.secret:
        return Advice(_not_enough(file, refusal, sent.secret), sent.secret, file.page)
    return Advice(_missing(file, refusal, sent), file.site.token_name, file.page)


def _missing(file: SiteFile, refusal: Mapping[str, Any], sent: Sent) -> str:
    site, name = file.site, file.site.token_name
    if sent.own_header:
        return f"{site} does not accept the Authorization that this file brings. Its page is {file.page}."
    store = f"store a token from {site.tokens_page} as the secret {name}"
    if refusal.get("error_code") == GATED:
        return f"This model is gated: accept its licence at {file.page}, and {store}."
    accept = f" If {file.page} asks to accept a licence, accept it there." if site is Site.HUGGING_FACE else ""
    return f"{site} asks for a token: {store}.{accept}"


def _not_enough(file: SiteFile, refusal: Mapping[str, Any], name: str) -> str:
    site = file.site
    if refusal.get("error_code") == GATED or refusal.get("http_status") == 403:
        rights = " and let the token read gated repositories" if site is Site.HUGGING_FACE else ""
        return f"The owner of the token in {name} has no access: accept the licence at {file.page}{rights}."
    return f"{site} does not accept the token in {name}: store a new one from {site.tokens_page}."


def _of_any_host(host: str, sent: Sent) -> Advice:
    if sent.secret:
        return Advice(f"{host} does not accept the secret {sent.secret} for this file: store a new value.", sent.secret)
    if sent.own_header:
        return Advice(f"{host} does not accept the headers that this file brings.")
    return Advice(f"If {host} asks for a token, store it as a secret for this host, or bring it as a header.")


def _file_of(sites: ModelSites, url: str) -> SiteFile | None:
    try:
        found = sites.file_of(url)
    except NotAFile:
        return None
    return found if isinstance(found, SiteFile) else None
