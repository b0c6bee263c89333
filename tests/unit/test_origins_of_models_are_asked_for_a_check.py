"""The origins of models are asked for a check: for a few seconds together, and for each account once in ten minutes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from comfyward.dispatch.known_models import TemplateModels
from comfyward.dispatch.model_facts import ModelFacts, civitai_licence, hugging_face_licence
from comfyward.dispatch.origins import Origins
from comfyward.workflows.check import OriginFacts
from tests.fakes.http import Origin
from tests.fakes.model_sites import LOOPBACK, Civitai, Hub, civitai, hugging_face, site_files

DATA = b"the bytes of a model"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hugging_face() as served:
        yield served


@pytest.fixture
def shop() -> Iterator[Civitai]:
    with civitai() as served:
        yield served


def asking(hub: Hub | None = None, shop: Civitai | None = None) -> ModelFacts:
    return ModelFacts(site_files(hub and hub.url, shop and shop.url), Origins(LOOPBACK))


def told(act: Callable[[], Awaitable[Mapping[str, OriginFacts]]]) -> Mapping[str, OriginFacts]:
    async def run() -> Mapping[str, OriginFacts]:
        return await act()

    return asyncio.run(run())


def test_size_licence_and_page_are_told_once_for_each_account(hub: Hub) -> None:
    url = hub.put("someone/tiny", "tiny.safetensors", DATA)
    hub.licences["someone/tiny"] = "apache-2.0"

    async def ask() -> None:
        facts = asking(hub)
        first = (await facts.of("alice", [url, url]))[url]
        assert (first.size, first.licence, first.is_gated) == (len(DATA), "apache-2.0", False)
        assert (first.page, first.token, first.problem) == (f"{hub.url}/someone/tiny", "HF_TOKEN", None)
        asked = len(hub.requests)
        assert await facts.of("alice", [url]) == {url: first}
        assert len(hub.requests) == asked
        await facts.of("bob", [url])
        assert len(hub.requests) > asked

    asyncio.run(ask())


def test_a_gate_is_told_and_its_model_is_not_fetched(hub: Hub) -> None:
    url = hub.put("closed/tiny", "tiny.safetensors", DATA, is_gated=True)
    found = told(lambda: asking(hub).of("alice", [url]))[url]
    assert (found.is_gated, found.size, found.licence) == (True, None, "other")
    assert "401" in str(found.problem)
    assert hub.store.requests == []


def test_a_gate_is_asked_about_again(hub: Hub) -> None:
    """Somebody stores the token that the check has named, and checks again."""
    url = hub.put("closed/soon", "tiny.safetensors", DATA, is_gated=True)

    async def ask() -> None:
        facts = asking(hub)
        assert (await facts.of("alice", [url]))[url].is_gated
        hub.files["closed/soon", "main", "tiny.safetensors"].is_gated = False
        assert (await facts.of("alice", [url]))[url].is_gated is False

    asyncio.run(ask())


def test_civitais_permissions_are_the_licence(shop: Civitai) -> None:
    url = shop.put(7, 12, "style.safetensors", DATA)
    found = told(lambda: asking(shop=shop).of("alice", [url]))[url]
    assert (found.size, found.token) == (len(DATA), "CIVITAI_TOKEN")
    assert found.licence == "commercial use: Image; name its creator; no derivatives"


def test_an_origin_that_is_silent_holds_nobody_up(site: Origin) -> None:
    hold = threading.Event()
    silent = site.put("/silent.safetensors", DATA, hold=hold)
    quick = site.put("/quick.safetensors", DATA)
    try:
        found = told(lambda: asking().of("alice", [quick, silent], patience_s=3.0))
    finally:
        hold.set()
    assert (quick in found, silent in found) == (True, False)
    assert found[quick].size == len(DATA)


def test_addresses_that_the_guard_refuses_are_not_asked() -> None:
    url = "http://10.1.2.3/a.safetensors"
    found = told(lambda: asking().of("alice", [url]))[url]
    assert (found.size, "10.1.2.3" in str(found.problem)) == (None, True)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ({"license": "mit"}, "mit"),
        ({"license": "other", "license_name": "flux-1-dev-non-commercial"}, "flux-1-dev-non-commercial"),
        ({"license": "other"}, "other"),
        ({"license": ["a", "b"]}, None),
        ({"license": "x" * 300}, None),
        ({"license": "a\nb"}, None),
        ("text", None),
        (None, None),
    ],
)
def test_a_licence_in_a_card_is_read(card: object, licence: str | None) -> None:
    assert hugging_face_licence({"cardData": card}) == licence


def test_permissions_are_words() -> None:
    assert civitai_licence({}) is None
    assert civitai_licence({"allowCommercialUse": "None", "allowNoCredit": True}) == "no commercial use; no derivatives"
    free = {"allowCommercialUse": ["Image", "Sell"], "allowNoCredit": True, "allowDerivatives": True}
    assert civitai_licence(free) == "commercial use: Image, Sell"


def test_models_of_templates_are_known_by_name_and_folder(tmp_path: Path) -> None:
    def template(name: str, *urls: str) -> None:
        models = [{"name": "m.safetensors", "directory": "vae", "url": url} for url in urls]
        node = {"id": 1, "type": "VAELoader", "properties": {"models": models}}
        (tmp_path / name).write_bytes(msgspec.json.encode({"nodes": [node]}))

    template("a.json", "https://one")
    template("b.json", "https://two")
    template("c.json", "https://two")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "index.json").write_text("[]")

    known = asyncio.run(TemplateModels(tmp_path).known())

    found = known.of("vae", "m.safetensors")
    assert found is not None
    assert found.url == "https://two"
    assert known.of("loras", "m.safetensors") is None
    assert known.directory_of("m.safetensors") == "vae"
    assert asyncio.run(TemplateModels(None).known()).of("vae", "m.safetensors") is None
