"""Addresses of Hugging Face and Civitai, in every form that people copy, as the address of the file.

(Sources: huggingface_hub's `hf_hub_url` and HfFileSystem; developer.civitai.com, "Model versions" and "AIR
identifiers".)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from comfyward.errors import NotAFile
from comfyward.runs.address import OWN_PORTS, origin_of

HUGGING_FACE, CIVITAI = "https://huggingface.co", "https://civitai.com"
_HUGGING_FACE_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_CIVITAI_HOSTS = frozenset({"civitai.com", "www.civitai.com", "civitai.green", "civitai.red"})

_KINDS = ("datasets", "spaces")
_TO_FILES = ("resolve", "blob", "raw", "blame", "edit", "commits")
_NOT_OWNERS = frozenset(
    {"api", "models", "docs", "blog", "settings", "join", "login", "papers", "collections", "posts"}
)
_PULL_REQUEST = re.compile(r"refs/(?:pr/[0-9]+|convert/[\w-]+)")
_AIR = re.compile(
    r"(?:urn:)?(?:air:)?(?:[\w.*-]+:){0,2}(?P<source>civitai|huggingface):(?P<id>[^@+:\s]+)"
    r"(?:@(?P<version>[^+:\s]+))?(?:\+(?P<file>[0-9]{1,12})(?:\.\w+)?)?(?::(?P<layer>\S+))?",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[0-9]{1,12}")
_FORMATS = re.compile(r"\.(safetensors|ckpt|pickletensor|pt|bin|gguf|diffusers|other)$", re.IGNORECASE)


class Site(StrEnum):
    """A site of models; its value is its name for people."""

    HUGGING_FACE = "Hugging Face"
    CIVITAI = "Civitai"

    @property
    def token_name(self) -> str:
        """The name under which an account keeps its token for this site."""
        return {Site.HUGGING_FACE: "HF_TOKEN", Site.CIVITAI: "CIVITAI_TOKEN"}[self]

    @property
    def tokens_page(self) -> str:
        """The page on which a person makes a token."""
        pages = {Site.HUGGING_FACE: f"{HUGGING_FACE}/settings/tokens", Site.CIVITAI: f"{CIVITAI}/user/account"}
        return pages[self]


@dataclass(frozen=True)
class SiteFile:
    """A file at a site: the address to fetch, its name if the address tells it, and the page of its model.

    On the page a person accepts the licence. `token` is one that stood in the address.
    """

    site: Site
    url: str
    page: str
    name: str | None = None
    token: str | None = None


@dataclass(frozen=True)
class Undecided:
    """A model of Civitai without a version, or a file by its number: the description at `url` says which file it is."""

    url: str
    page: str
    file_id: int | None = None
    token: str | None = None


@dataclass(frozen=True)
class ModelSites:
    """The two sites at the addresses that are used for them: their own, or those of mirrors."""

    hugging_face: str = HUGGING_FACE
    civitai: str = CIVITAI

    def file_of(self, text: str) -> SiteFile | Undecided | None:
        """The file that an address of a site leads to; None for an address of anybody else.

        Raises NotAFile for a page of a site that leads to no file.
        """
        text = text.strip()
        if text[:5].lower() == "hf://":
            return self._of_hub_path(text[5:])
        if match := _AIR.fullmatch(text):
            return self._of_air(match)
        parts = _parts(text)
        match self._site_of(parts):
            case Site.HUGGING_FACE:
                return self._of_hub(parts)
            case Site.CIVITAI:
                return self._of_civitai(parts)
            case None:
                return None

    def hosts_of(self, site: Site) -> tuple[str, ...]:
        """The hosts, as patterns of a secret, to which the token of a site belongs."""
        own, known = {
            Site.HUGGING_FACE: (self.hugging_face, ("huggingface.co",)),
            Site.CIVITAI: (self.civitai, ("civitai.com", "civitai.green", "civitai.red")),
        }[site]
        parts = urlsplit(own)
        pattern = parts.netloc if parts.scheme == "https" else f"{parts.scheme}://{parts.netloc}"
        return tuple(dict.fromkeys((pattern, *known)))

    def decided(self, asked: Undecided, description: Any) -> SiteFile:
        """The file in Civitai's description of a model or version: the one asked for, else the newest version's.

        Raises NotAFile if it has none.
        """
        for version, file in _described_files(description):
            if asked.file_id is None or file.get("id") == asked.file_id:
                return self._described(asked, version, file)
        raise NotAFile(f"Civitai lists no file to download at {asked.page}.")

    def _site_of(self, parts: SplitResult) -> Site | None:
        host, port = (parts.hostname or "").lower().rstrip("."), _port(parts)
        if parts.scheme not in OWN_PORTS or not host or port is None:
            return None
        at = f"{parts.scheme}://{host}:{port}"
        own_host = host if port in OWN_PORTS.values() else ""
        if own_host in _HUGGING_FACE_HOSTS or at == origin_of(self.hugging_face):
            return Site.HUGGING_FACE
        return Site.CIVITAI if own_host in _CIVITAI_HOSTS or at == origin_of(self.civitai) else None

    # Hugging Face

    def _of_hub(self, parts: SplitResult) -> SiteFile | None:
        segments = _hub_segments(parts.path)
        if segments is None:
            return None
        shown = dict(parse_qsl(parts.query)).get("show_file_info")
        kind, rest = _without_kind(segments)
        place = next((index for index in (1, 2) if rest[index : index + 1] and rest[index] in (*_TO_FILES, "tree")), 0)
        if place:
            revision, path = _revision_and_path([unquote(segment) for segment in rest[place + 1 :]])
            path = shown or ("" if rest[place] == "tree" else path)
            repository = "/".join(rest[:place])
        elif 1 <= len(rest) <= 2 and rest[0] not in _NOT_OWNERS:
            repository, revision, path = "/".join(rest), "main", shown or ""
        else:
            return None
        if not path:
            raise _no_file(Site.HUGGING_FACE, f"{self.hugging_face}{parts.path}")
        return self._hub_file(kind, repository, revision, path)

    def _of_hub_path(self, path: str) -> SiteFile:
        """The file of hf://[datasets/]OWNER/REPOSITORY[@REVISION]/PATH."""
        kind, rest = _without_kind([unquote(each) for each in path.partition("?")[0].split("/") if each])
        owner, _, names = "/".join(rest).partition("/")
        repository, at, after = names.partition("@") if "@" in names.partition("/")[0] else (*_first(names), "")
        if at == "@":
            revision, file = _revision_and_path(after.split("/"))
        else:
            revision, file = "main", at
        if not owner or not repository or not file:
            hint = "Write hf://OWNER/REPOSITORY/FILE, or hf://OWNER/REPOSITORY@REVISION/FILE."
            raise NotAFile(f"'hf://{path}' names no file.", hint=hint)
        return self._hub_file(kind, f"{owner}/{repository}", revision, file)

    def _hub_file(self, kind: str, repository: str, revision: str, path: str) -> SiteFile:
        base = f"{self.hugging_face.rstrip('/')}/{kind}{quote(repository)}"
        url = f"{base}/resolve/{quote(revision, safe='')}/{quote(path)}"
        return SiteFile(Site.HUGGING_FACE, url, base, path.rpartition("/")[2])

    # Civitai

    def _of_civitai(self, parts: SplitResult) -> SiteFile | Undecided | None:
        segments = [segment for segment in parts.path.split("/") if segment]
        query = dict(parse_qsl(parts.query))
        token = query.get("token")
        match segments:
            case ["api", "download", "models", version, *_] if _NUMBER.fullmatch(version):
                kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "token"]
                return self._version(version, kept, token)
            case ["api", "v1", "model-versions", version] | ["model-versions", version] if _NUMBER.fullmatch(version):
                return self._version(version, (), token)
            case ["models", model, *_] | ["api", "v1", "models", model] if _NUMBER.fullmatch(model):
                chosen = query.get("modelVersionId", "")
                return self._version(chosen, (), token, model) if chosen else self._model(model, token)
            case ["models", *_] | ["images" | "posts" | "user", _, *_] | []:
                raise _no_file(Site.CIVITAI, f"{self.civitai}{parts.path}")
            case _:
                return None

    def _of_air(self, match: re.Match[str]) -> SiteFile | Undecided:
        version, layer = match["version"], match["layer"]
        if match["source"].lower() == "huggingface":
            if match["id"].count("/") != 1 or not layer:
                hint = "Write urn:air:ECOSYSTEM:TYPE:huggingface:OWNER/REPOSITORY@REVISION:FILE."
                raise NotAFile(f"'{match[0]}' names no file.", hint=hint)
            return self._hub_file("", match["id"], version or "main", layer)
        model, version = _FORMATS.sub("", match["id"]), _FORMATS.sub("", version or "")
        if not _NUMBER.fullmatch(model):
            raise NotAFile(f"'{match[0]}' does not name a model of Civitai by its number.")
        if match["file"]:
            about = f"model-versions/{_number(version)}" if version else f"models/{model}"
            page = self._model_page(model, version)
            return Undecided(f"{self._civitai_base}/api/v1/{about}", page, int(match["file"]))
        return self._version(version, (), None, model) if version else self._model(model, None)

    @property
    def _civitai_base(self) -> str:
        return self.civitai.rstrip("/")

    def _model_page(self, model: str, version: str) -> str:
        return f"{self._civitai_base}/models/{model}" + (f"?modelVersionId={version}" if version else "")

    def _model(self, model: str, token: str | None) -> Undecided:
        return Undecided(f"{self._civitai_base}/api/v1/models/{model}", self._model_page(model, ""), token=token)

    def _version(
        self, version: str, query: Iterable[tuple[str, str]], token: str | None, model: str | None = None
    ) -> SiteFile:
        base, asked = self._civitai_base, urlencode(list(query), quote_via=quote)
        url = f"{base}/api/download/models/{_number(version)}" + (f"?{asked}" if asked else "")
        page = self._model_page(model, version) if model else f"{base}/model-versions/{version}"
        return SiteFile(Site.CIVITAI, url, page, token=token)

    def _described(self, asked: Undecided, version: int, file: dict[str, Any]) -> SiteFile:
        query = parse_qsl(urlsplit(str(file.get("downloadUrl", ""))).query)
        page = asked.page.partition("?")[0] + f"?modelVersionId={version}"
        name = file.get("name")
        found = self._version(str(version), [pair for pair in query if pair[0] != "token"], asked.token)
        return SiteFile(Site.CIVITAI, found.url, page, name if isinstance(name, str) else None, asked.token)


def _described_files(description: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of the version, file) of all versions, the newest version first, and of each its primary file first."""
    if not isinstance(description, dict):
        return
    versions = description.get("modelVersions")
    for version in versions if isinstance(versions, list) else [description]:
        files = version.get("files") if isinstance(version, dict) else None
        if isinstance(files, list) and isinstance(version.get("id"), int):
            known = [file for file in files if isinstance(file, dict)]
            yield from ((version["id"], file) for file in sorted(known, key=_is_secondary))


def _is_secondary(file: dict[str, Any]) -> bool:
    return file.get("primary") is not True


def _parts(text: str) -> SplitResult:
    """The parts of an address; hosts of sites need no scheme."""
    try:
        if text.partition("/")[0].lower() in _HUGGING_FACE_HOSTS | _CIVITAI_HOSTS:
            return urlsplit(f"https://{text}")
        return urlsplit(text)
    except ValueError:
        return urlsplit("")


def _port(parts: SplitResult) -> int | None:
    """The port, if it is one."""
    try:
        return parts.port or OWN_PORTS.get(parts.scheme)
    except ValueError:
        return None


def _hub_segments(path: str) -> list[str] | None:
    """The parts of a path, as on the pages of Hugging Face; None for a program's own request."""
    segments = [segment for segment in path.split("/") if segment]
    if segments[:1] != ["api"]:
        return segments
    if segments[1:2] not in (["models"], ["datasets"], ["spaces"]) or "resolve" not in segments:
        return None
    return segments[1:] if segments[1] in _KINDS else segments[2:]


def _without_kind(segments: list[str]) -> tuple[str, list[str]]:
    """("datasets/", the rest), or ("", all) for a repository of a model."""
    return (f"{segments[0]}/", segments[1:]) if segments and segments[0] in _KINDS else ("", segments)


def _revision_and_path(segments: list[str]) -> tuple[str, str]:
    """A revision may be one of a pull request, whose name has slashes."""
    if match := _PULL_REQUEST.match("/".join(segments)):
        return match[0], "/".join(segments)[match.end() + 1 :]
    return (segments[0] if segments else "main"), "/".join(segments[1:])


def _first(names: str) -> tuple[str, str]:
    first, _, rest = names.partition("/")
    return first, rest


def _number(version: str) -> str:
    if not _NUMBER.fullmatch(version):
        raise NotAFile(f"'{version}' is not the number of a version at Civitai.")
    return version


def _no_file(site: Site, page: str) -> NotAFile:
    hint = {
        Site.HUGGING_FACE: "Open the file in the repository's list of files and copy the address of its page.",
        Site.CIVITAI: "Copy the address of the model's page, or of its download button.",
    }[site]
    return NotAFile(f"{page} is a page of {site} that leads to no file.", hint=hint)
