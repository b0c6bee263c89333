"""The spec of an environment, which the next revision is made of: edited as a text, or pack by pack."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.responses import Response

from comfyward.dispatch import specs
from comfyward.dispatch.shared_trees import SharedTrees
from comfyward.environments import index, releases
from comfyward.environments.finding.finder import Finder
from comfyward.environments.finding.node_map import MAX_CLASS_LENGTH
from comfyward.environments.finding.notes import source_or_none
from comfyward.environments.source import FORMS, parse_pack
from comfyward.environments.spec import MAX_LENGTH, Spec, parse_spec
from comfyward.errors import InvalidEnvironment
from comfyward.store import environment_uses, environments
from comfyward.store.db import Database, now_ms
from comfyward.web.page import Access, Page
from comfyward.web.page_request import PageRequest, text_of
from comfyward.web.problems import PageError
from comfyward.workflows.offer import Confidence, Offer, Origin

ADDRESSES = ("https://", "http://", "github.com/", "gitlab.com/", "codeberg.org/")
KINDS = ("cnr:", "git+", "pypi:", "folder:")
CHANGED = "The spec was changed at the same time. What you wrote is below: look at both, and save again."


@dataclass(frozen=True)
class FoundPacks:
    """The packs that were found for what somebody searched for, or the reason why it is no source of a pack."""

    words: str = ""
    offers: Sequence[Offer] = ()
    problem: str = ""


class EnvironmentSpecs:
    def __init__(self, db: Database, finder: Finder, trees: SharedTrees, upload_limit_bytes: int) -> None:
        self._db, self._finder, self._trees = db, finder, trees
        self._upload_limit = upload_limit_bytes

    def pages(self) -> list[Page]:
        one = "/environments/{name}"
        return [
            Page("GET", f"{one}/edit", self.edit, "The spec of an environment", Access.ADMINS),
            Page("POST", f"{one}/edit", self.save, "Change the spec of an environment", Access.ADMINS),
            Page("POST", f"{one}/packs", self.add, "Add a pack, or find the packs with a node", Access.ADMINS),
            Page(
                "POST",
                f"{one}/packs/upload",
                self.upload,
                "Add a pack from a zip archive",
                Access.ADMINS,
                self._upload_limit,
            ),
            Page("POST", f"{one}/packs/remove", self.remove, "Remove a pack", Access.ADMINS),
            Page("POST", f"{one}/packs/web", self.allow_scripts, "Allow a pack's scripts, or not", Access.ADMINS),
        ]

    async def edit(self, request: PageRequest) -> Response:
        return await self._page(request)

    async def save(self, request: PageRequest) -> Response:
        form, name = await request.form(), request["name"]
        text, seen = str(form.get("spec", "")).replace("\r\n", "\n"), text_of(form, "version", 64)
        former = (await self._db.read(environments.get, name)).spec
        if len(text) > MAX_LENGTH:
            return await self._page(request, text[:MAX_LENGTH], f"It must be at most {MAX_LENGTH:,} characters.")
        try:
            spec = parse_spec(text)
            if seen != version_of(former):
                return await self._page(request, text, CHANGED)
            await self._db.write(specs.replace, name, former, spec, now_ms())
        except InvalidEnvironment as error:
            return await self._page(request, text, f"{error.message} {error.hint or ''}".strip())
        return request.redirect(f"/environments/{name}")

    async def add(self, request: PageRequest) -> Response:
        """Adds the pack whose source was given; otherwise shows the packs that have a node or a name like that."""
        words, name = text_of(await request.form(), "pack", 2000, "what you search for"), request["name"]
        if not words:
            raise PageError("Enter the source of a pack, or the name of a node.")
        if words.startswith(ADDRESSES):
            return await self._page(request, found=FoundPacks(words, _at(words)))
        if not words.startswith(KINDS):
            return await self._page(request, found=await self._found(request.account.id, words))
        try:
            pack = parse_pack(words)
            await asyncio.to_thread(index.check, [pack])
        except InvalidEnvironment as error:
            return await self._page(
                request, found=FoundPacks(words, problem=f"{error.message} {error.hint or ''}".strip())
            )
        await self._change(name, lambda spec: spec.with_packs([pack]))
        return request.redirect(f"/environments/{name}")

    async def upload(self, request: PageRequest) -> Response:
        """Adds the pack in a zip archive, whose name is that of the file."""
        upload = (await request.form()).get("archive")
        if not isinstance(upload, UploadFile) or not (upload.filename or "").endswith(".zip"):
            return await self._page(request, archive_problem="Choose a zip archive: FOLDER.zip, with the pack's files.")
        await self._db.read(environments.get, request["name"])
        try:
            pack = await self._trees.add_upload(str(upload.filename), upload.file)
            await self._change(request["name"], lambda spec: spec.with_packs([pack]))
        except InvalidEnvironment as error:
            problem = f"{error.message} {error.hint or ''}".strip()
            return await self._page(request, archive_problem=problem)
        return request.redirect(f"/environments/{request['name']}")

    async def remove(self, request: PageRequest) -> Response:
        pack, name = text_of(await request.form(), "pack", 2000), request["name"]
        await self._change(name, lambda spec: spec.without_pack(pack))
        return request.redirect(f"/environments/{name}")

    async def allow_scripts(self, request: PageRequest) -> Response:
        """From the next revision on, the scripts of a pack may run in the editor, or may not any more."""
        form, name = await request.form(), request["name"]
        pack, is_allowed = text_of(form, "pack", 2000), text_of(form, "allowed", 10) == "yes"
        await self._change(name, lambda spec: spec.with_web(pack, is_allowed=is_allowed))
        return request.redirect(f"/environments/{name}/edit")

    async def _found(self, account_id: str, words: str) -> FoundPacks:
        """The packs with a node of that name, else those with such a name themselves."""
        if len(words) > MAX_CLASS_LENGTH:
            return FoundPacks(words, problem=f"'{words[:40]}…' is not the source of a pack. Use {FORMS}.")
        by_class = (await self._finder.find(account_id, [words])).get(words, ())
        return FoundPacks(words, by_class or await self._finder.find_named(words))

    async def _change(self, name: str, change: Callable[[Spec], Spec]) -> None:
        await self._db.write(specs.change, name, change, now_ms())

    async def _page(
        self,
        request: PageRequest,
        text: str | None = None,
        problem: str = "",
        found: FoundPacks | None = None,
        archive_problem: str = "",
    ) -> Response:
        """The page with what was typed, and with what is wrong about it."""
        name = request["name"]
        environment = await self._db.read(environments.get, name)
        uses = await self._db.read(environment_uses.by_name)
        return request.render(
            "environment_edit.html",
            400 if problem or archive_problem or (found is not None and found.problem) else 200,
            environment=environment,
            spec=parse_spec(environment.spec),
            text=environment.spec if text is None else text,
            longest=MAX_LENGTH,
            version=version_of(environment.spec),
            problem=problem,
            archive_problem=archive_problem,
            archive_limit=self._upload_limit,
            found=found,
            releases=releases.VERSIONS,
            use=uses.get(name, environment_uses.Use()),
            unfinished=await self._db.read(environment_uses.unfinished, name),
            tab="edit",
        )


def _at(address: str) -> tuple[Offer, ...]:
    """The repository at an address of a browser, at its newest commit; nothing if that is no address of one."""
    plain = address.partition("?")[0].partition("#")[0].rstrip("/").removesuffix(".git")
    found = source_or_none(f"git+{plain if '://' in plain else f'https://{plain}'}@HEAD")
    return () if found is None else (Offer(found.name, Origin.TABLE, Confidence.CERTAIN, str(found)),)


def version_of(spec: str) -> str:
    """A digest of a spec: what a form was made from."""
    return hashlib.sha256(spec.encode()).hexdigest()
