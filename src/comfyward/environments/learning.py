"""Learning: what packs fetch in a trial that lets them becomes files of the environment."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote, urlsplit

from comfyward.environments.egress import permits

HOSTS = (
    *("huggingface.co", "*.huggingface.co", "*.hf.co"),
    *("github.com", "*.githubusercontent.com"),
    *("civitai.com", "*.civitai.com"),
    *("dl.fbaipublicfiles.com", "download.pytorch.org", "storage.googleapis.com"),
)
"""The hosts that a trial which learns may reach: those from which packs fetch their weights."""

_IN_HUB = re.compile(r"home/\.cache/huggingface/hub/(models|datasets|spaces)--([^/]+)/snapshots/([0-9a-f]{40})/(.+)")


def candidates(path: str, fetched: Iterable[str], hosts: Iterable[str]) -> list[str]:
    """The addresses at which a file may be found, the likeliest first, of those that ComfyUI has asked for.

    huggingface_hub keeps a file where its address can be read from its place.
    """
    allowed = tuple(hosts)
    name = path.rpartition("/")[2]
    asked = [url for url in dict.fromkeys(fetched) if _may_be_asked(url, allowed)]
    named = [url for url in asked if unquote(urlsplit(url).path).rpartition("/")[2] == name]
    return list(dict.fromkeys([*_in_hub(path, allowed), *named, *asked]))


def _in_hub(path: str, hosts: tuple[str, ...]) -> list[str]:
    match = _IN_HUB.fullmatch(path)
    if match is None:
        return []
    kind, repository, commit, file = match.groups()
    place = "" if kind == "models" else f"{kind}/"
    url = f"https://huggingface.co/{place}{quote(repository.replace('--', '/', 1))}/resolve/{commit}/{quote(file)}"
    return [url] if _may_be_asked(url, hosts) else []


def _may_be_asked(url: str, hosts: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        return False
    return bool(parts.hostname) and permits(hosts, str(parts.hostname), port)
