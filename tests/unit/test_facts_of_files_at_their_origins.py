"""An origin is asked about a file without fetching it: as Hugging Face, Civitai and others answer, refuse or lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from comfyward.dispatch import origins
from comfyward.files.file_facts import FileFacts
from comfyward.runs.files import Url
from tests.fakes.http import Origin, faucet, origin
from tests.fakes.model_sites import Civitai, Hub, civitai, hugging_face, site_files

MODEL = b"a model"
SHA256 = hashlib.sha256(MODEL).hexdigest()


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with hugging_face() as running:
        yield running


@pytest.fixture(scope="module")
def site() -> Iterator[Civitai]:
    with civitai() as running:
        yield running


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Origin]:
    with origin() as running:
        yield running


async def test_hugging_face_tells_them_beside_its_redirect(hub: Hub) -> None:
    url = hub.put("org/open", "a/model.safetensors", MODEL)
    before = len(hub.store.requests)

    assert await facts(url, hub) == FileFacts(url, len(MODEL), SHA256, "model.safetensors")
    assert [request.method for request in hub.requests if "org/open" in request.path] == ["HEAD"]
    assert len(hub.store.requests) == before, "nothing is asked of the store"


async def test_a_refused_head_is_followed_by_a_get_of_one_byte(hub: Hub) -> None:
    url = hub.put("org/headless", "model.safetensors", MODEL)
    hub.refuses_head = True
    try:
        found = await facts(url, hub)
    finally:
        hub.refuses_head = False

    assert (found.size, found.name, found.problem) == (len(MODEL), "model.safetensors", None)
    assert hub.store.requests[-1].headers["Range"] == "bytes=0-0"


async def test_a_gated_file_is_refused_without_a_token_and_with_one_that_has_no_access(hub: Hub) -> None:
    url = hub.put("org/gated", "model.safetensors", MODEL, is_gated=True)
    hub.tokens.add("no access")

    for token, status in ((None, 401), ("no access", 403)):
        found = await facts(url, hub, token)
        assert found.is_gated
        assert found.problem is not None
        assert found.problem.details["http_status"] == status
        assert found.problem.details["error_code"] == "GatedRepo"
    hub.grant("access", "org/gated")
    assert await facts(url, hub, "access") == FileFacts(url, len(MODEL), SHA256, "model.safetensors")


async def test_a_file_that_is_not_there_is_not_gated(hub: Hub) -> None:
    hub.put("org/there", "model.safetensors", MODEL)

    found = await facts(f"{hub.url}/org/there/resolve/main/other.safetensors", hub)
    assert found.problem is not None
    assert (found.is_gated, found.problem.details["http_status"]) == (False, 404)


async def test_civitai_tells_them_in_its_description(site: Civitai) -> None:
    url = site.put(1, 2, "style.safetensors", MODEL)

    assert await facts(f"{site.url}/models/1", site) == FileFacts(url, len(MODEL), SHA256, "style.safetensors")


@pytest.mark.parametrize("shows_login", [False, True], ids=["401", "a page to log in"])
async def test_civitai_wants_a_login(site: Civitai, shows_login: bool) -> None:
    url = site.put(3, 4, "mine.safetensors", MODEL, needs_login=True)
    site.tokens.add("hers")
    site.shows_login = shows_login

    assert (await facts(url, site)).is_gated
    assert await facts(url, site, "hers") == FileFacts(url, len(MODEL), SHA256, "mine.safetensors")


async def test_any_origin_tells_size_digest_and_name(elsewhere: Origin) -> None:
    told = {"ETag": f'"{SHA256}"', "Content-Disposition": "attachment; filename*=UTF-8''st%C3%BCck.bin"}
    url = elsewhere.put("/get/7", MODEL, headers=told)
    plain = elsewhere.put("/plain.bin", MODEL)

    assert await facts(url) == FileFacts(url, len(MODEL), SHA256, "stück.bin")
    assert await facts(plain) == FileFacts(plain, len(MODEL), None, "plain.bin")


@pytest.mark.parametrize("name", ["../../etc/passwd", "..\\..\\passwd", "/", "..", "a\nb", "x" * 300])
async def test_a_name_is_the_last_part_of_a_path(elsewhere: Origin, name: str) -> None:
    shown = name.replace("\\", "\\\\").replace("\n", "%0A")
    url = elsewhere.put("/named/5", MODEL, headers={"Content-Disposition": f'attachment; filename="{shown}"'})

    assert (await facts(url)).name in ("passwd", None, "a%0Ab")


async def test_who_is_redirected_to_tells_no_digest(elsewhere: Origin) -> None:
    with origin() as other:
        target = other.put("/there", MODEL, headers={"ETag": f'"{SHA256}"'})
        url = elsewhere.put("/away.bin", b"", status=302, headers={"Location": target})

        assert await facts(url) == FileFacts(url, len(MODEL), None, "away.bin")


async def test_a_size_beyond_reason_is_none(elsewhere: Origin) -> None:
    url = elsewhere.put("/odd.bin", MODEL, headers={"X-Linked-Size": "9" * 5000})

    assert (await facts(url)).size == len(MODEL)


async def test_a_silent_origin_has_a_problem_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "TIMEOUT_S", 0.5)
    with faucet(b"", b"") as silent:
        found = await facts(silent.url)

    assert found.problem is not None
    assert "127.0.0.1" in found.problem.message


async def test_the_name_of_a_file_to_import(hub: Hub, site: Civitai, elsewhere: Origin) -> None:
    files = site_files(hub.url, site.url)
    site.put(5, 6, "named.safetensors", MODEL)
    asked = len(elsewhere.requests)

    assert await files.name_of("ada", "hf://org/repo/a/b.safetensors") == "b.safetensors"
    assert await files.name_of("ada", "civitai:5") == "named.safetensors"
    assert await files.name_of("ada", "civitai:5@6") == "named.safetensors"
    assert await files.name_of("ada", f"{elsewhere.url}/a%20b.bin?x=1") == "a b.bin"
    assert len(elsewhere.requests) == asked


async def facts(url: str, at: Hub | Civitai | None = None, token: str | None = None) -> FileFacts:
    headers = (("Authorization", f"Bearer {token}"),) if token else ()
    files = site_files(at.url if isinstance(at, Hub) else None, at.url if isinstance(at, Civitai) else None)
    return await files.facts("ada", Url(url, headers=headers))
