"""Hugging Face and Civitai on loopback: pages, gates, digests, and redirects to signed addresses at another origin.

(Sources: the Hub's answers to `resolve`, with X-Error-Code and X-Linked-*; developer.civitai.com, "Model versions".)
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from comfyward.dispatch.named_secrets import NamedSecrets
from comfyward.dispatch.origins import Origins
from comfyward.dispatch.site_files import SiteFiles
from comfyward.errors import FetchFailed
from comfyward.files.guard import Guard
from comfyward.files.model_sites import ModelSites
from comfyward.runs.files import Url
from tests.fakes.http import STOP_POLL_S, Origin, Request, origin

LOOPBACK = Guard.allowing(["127.0.0.1"])


def sites_at(hub: str | None = None, civitai: str | None = None) -> ModelSites:
    """The sites at these addresses, or where nobody answers."""
    return ModelSites(hub or "http://127.0.0.1:9", civitai or "http://127.0.0.1:9")


class NoSecrets(NamedSecrets):
    """Those of accounts that have none: nothing is added, and nothing explained."""

    def __init__(self) -> None:
        return

    async def sent(self, account_id: str, sources: Mapping[str, Url]) -> dict[str, Url]:
        return dict(sources)

    async def explained(self, account_id: str, source: Url, problem: FetchFailed) -> FetchFailed:
        return problem


def site_files(hub: str | None = None, civitai: str | None = None, secrets: NamedSecrets | None = None) -> SiteFiles:
    """The files of sites at these addresses; loopback alone is allowed."""
    return SiteFiles(sites_at(hub, civitai), LOOPBACK, Origins(LOOPBACK), secrets or NoSecrets())


@dataclass
class HubFile:
    """A file of a repository. A gated one is for tokens in `granted`."""

    data: bytes
    is_gated: bool = False
    granted: set[str] = field(default_factory=set)


@dataclass
class Hub:
    """Speaks as Hugging Face does. `store` has the bytes and writes down who asks for them; `tokens` are valid ones."""

    url: str
    store: Origin
    files: dict[tuple[str, str, str], HubFile] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)
    refuses_head: bool = False
    licences: dict[str, str] = field(default_factory=dict)  # by repository

    def put(self, repository: str, path: str, data: bytes, *, revision: str = "main", is_gated: bool = False) -> str:
        """Adds a file and returns its address."""
        self.files[repository, revision, path] = HubFile(data, is_gated)
        return f"{self.url}/{repository}/resolve/{quote(revision, safe='')}/{quote(path)}"

    def grant(self, token: str, repository: str) -> None:
        """The owner of a token has accepted the licence."""
        self.tokens.add(token)
        for (known, _, _), file in self.files.items():
            if known == repository:
                file.granted.add(token)


@contextmanager
def hugging_face() -> Iterator[Hub]:
    with origin() as store:

        class Handler(_Handler):
            def answer(self, path: str, token: str | None) -> None:
                if path.startswith("/api/models/"):
                    return self.describe(path.removeprefix("/api/models/"))
                match = re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
                if self.command == "HEAD" and served.refuses_head:
                    return self.say(405, {"Allow": "GET"})
                if match is None:
                    return self.refuse(404, "EntryNotFound", "Entry not found")
                repository, revision, name = match[1], unquote(match[2]), unquote(match[3])
                if token is not None and token not in served.tokens:
                    return self.refuse(401, None, "Invalid credentials in Authorization header")
                if repository not in {each for each, _, _ in served.files}:
                    status = 401 if token is None else 404
                    return self.refuse(status, "RepoNotFound", "Repository not found")
                file = served.files.get((repository, revision, name))
                if file is None:
                    return self.refuse(404, "EntryNotFound", "Entry not found")
                if file.is_gated and token is None:
                    return self.refuse(401, "GatedRepo", f"Access to model {repository} is restricted. Please log in.")
                if file.is_gated and token not in file.granted:
                    words = "you are not in the authorized list"
                    return self.refuse(403, "GatedRepo", f"Access to model {repository} is restricted and {words}.")
                return self.redirect(name.rpartition("/")[2], file.data)

            def describe(self, repository: str) -> None:
                """What everybody may know of a repository, also of a gated one."""
                about = {"id": repository, "cardData": {"license": served.licences.get(repository, "other")}}
                self.say(200, {"Content-Type": "application/json"}, json.dumps(about).encode())

            def refuse(self, status: int, code: str | None, message: str) -> None:
                headers = {"X-Error-Message": message, "Content-Type": "text/plain"}
                self.say(status, {**headers, "X-Error-Code": code} if code else headers, message.encode())

            def redirect(self, name: str, data: bytes) -> None:
                sha256 = hashlib.sha256(data).hexdigest()
                shown = quote(f'attachment; filename="{name}"')
                target = store.put(f"/repos/{sha256}", data, headers={"ETag": '"of the store"'})
                self.say(
                    302,
                    {
                        "Location": f"{target}?response-content-disposition={shown}&X-Signature=abc",
                        "X-Linked-Etag": f'"{sha256}"',
                        "X-Linked-Size": str(len(data)),
                        "X-Repo-Commit": "0" * 40,
                    },
                )

        with _serving(Handler) as url:
            served = Handler.site = Hub(url, store)
            yield served


@dataclass
class CivitaiFile:
    """The file of a version; one that `needs_login` is for valid tokens."""

    model: int
    version: int
    name: str
    data: bytes
    needs_login: bool = False


@dataclass
class Civitai:
    """Speaks as Civitai does. With `shows_login` it sends those who are not logged in to its page to log in."""

    url: str
    store: Origin
    files: dict[int, CivitaiFile] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)
    shows_login: bool = False

    def put(self, model: int, version: int, name: str, data: bytes, *, needs_login: bool = False) -> str:
        """Adds a version and returns the address of its download."""
        self.files[version] = CivitaiFile(model, version, name, data, needs_login)
        return f"{self.url}/api/download/models/{version}"

    def described(self, file: CivitaiFile) -> dict[str, Any]:
        about = {
            "id": file.version + 1_000_000,
            "name": file.name,
            "sizeKB": len(file.data) / 1024,
            "type": "Model",
            "primary": True,
            "hashes": {"SHA256": hashlib.sha256(file.data).hexdigest().upper()},
            "downloadUrl": f"https://civitai.com/api/download/models/{file.version}",
        }
        air = f"urn:air:sdxl:lora:civitai:{file.model}@{file.version}"
        return {"id": file.version, "modelId": file.model, "air": air, "files": [about]}


@contextmanager
def civitai() -> Iterator[Civitai]:
    with origin() as store:

        class Handler(_Handler):
            def answer(self, path: str, token: str | None) -> None:
                match path.strip("/").split("/"):
                    case ["api", "v1", "models", model]:
                        found = [file for file in served.files.values() if str(file.model) == model]
                        newest = sorted(found, key=lambda file: -file.version)
                        versions = [served.described(file) for file in newest]
                        permits = {"allowNoCredit": False, "allowCommercialUse": ["Image"], "allowDerivatives": False}
                        self.tell({"id": int(model), **permits, "modelVersions": versions} if versions else None)
                    case ["api", "v1", "model-versions", version]:
                        file = served.files.get(int(version))
                        self.tell(served.described(file) if file else None)
                    case ["api", "download", "models", version] if int(version) in served.files:
                        self.send(served.files[int(version)], token)
                    case ["login"]:
                        self.say(200, {"Content-Type": "text/html; charset=utf-8"}, b"<!DOCTYPE html><title>Log in")
                    case _:
                        self.tell(None)

            def tell(self, about: dict[str, Any] | None) -> None:
                body = json.dumps(about or {"error": "Not found"}).encode()
                self.say(200 if about else 404, {"Content-Type": "application/json"}, body)

            def send(self, file: CivitaiFile, token: str | None) -> None:
                if file.needs_login and token not in served.tokens:
                    if served.shows_login:
                        return self.say(307, {"Location": "/login?reason=download-auth"})
                    message = "The creator of this asset requires you to be logged in to download it"
                    body = json.dumps({"error": "Unauthorized", "message": message}).encode()
                    return self.say(401, {"Content-Type": "application/json"}, body)
                disposition = f'attachment; filename="{file.name}"'
                target = store.put(f"/model/{file.version}", file.data, headers={"Content-Disposition": disposition})
                shown = quote(disposition)
                return self.say(307, {"Location": f"{target}?response-content-disposition={shown}&X-Amz-Signature=abc"})

        with _serving(Handler) as url:
            served = Handler.site = Civitai(url, store)
            yield served


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Hub | Civitai

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, headers = urlsplit(self.path).path, dict(self.headers)
        self.site.requests.append(Request(self.command, path, headers))
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        self.answer(path, token if scheme == "Bearer" else None)

    def answer(self, path: str, token: str | None) -> None:
        raise NotImplementedError

    def say(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def _serving(handler: type[_Handler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(STOP_POLL_S,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
