"""Every form in which people copy an address of Hugging Face or Civitai leads to the file."""

from __future__ import annotations

import pytest

from comfyward.errors import ComfywardError, InvalidUrl
from comfyward.files.model_sites import ModelSites, Site, SiteFile, Undecided
from comfyward.runs.files import Url, is_address, parse_source
from tests.fakes.model_sites import Civitai, civitai, site_files

HUB, CIVITAI = "https://huggingface.co", "https://civitai.com"
SITES = ModelSites()

ON_THE_HUB = {
    f"{HUB}/org/repo/resolve/main/a/b%20c.safetensors?download=true": "org/repo/resolve/main/a/b%20c.safetensors",
    f"{HUB}/org/repo/blob/main/a.safetensors": "org/repo/resolve/main/a.safetensors",
    f"{HUB}/org/repo/raw/v1.0/a.safetensors#L1": "org/repo/resolve/v1.0/a.safetensors",
    f"  {HUB}/org/repo/blob/refs%2Fpr%2F1/a.gguf\n": "org/repo/resolve/refs%2Fpr%2F1/a.gguf",
    f"{HUB}/org/repo/blob/refs/pr/1/a.gguf": "org/repo/resolve/refs%2Fpr%2F1/a.gguf",
    f"{HUB}/gpt2/resolve/main/model.safetensors": "gpt2/resolve/main/model.safetensors",
    f"{HUB}/datasets/o/r/blob/main/x.bin": "datasets/o/r/resolve/main/x.bin",
    f"{HUB}/api/models/org/repo/resolve/main/f.bin": "org/repo/resolve/main/f.bin",
    f"{HUB}/org/repo?show_file_info=x%2Fy.gguf": "org/repo/resolve/main/x/y.gguf",
    f"{HUB}/org/repo/tree/dev?show_file_info=y.gguf": "org/repo/resolve/dev/y.gguf",
    "https://hf.co/org/repo/blob/main/a.gguf": "org/repo/resolve/main/a.gguf",
    "huggingface.co/org/repo/blob/main/a.gguf": "org/repo/resolve/main/a.gguf",
    "hf://org/repo/a/b.gguf": "org/repo/resolve/main/a/b.gguf",
    "hf://org/repo@0123abc/a.gguf": "org/repo/resolve/0123abc/a.gguf",
    "hf://org/repo@refs/pr/3/a.gguf": "org/repo/resolve/refs%2Fpr%2F3/a.gguf",
    "hf://datasets/o/r@refs%2Fpr%2F3/a.gguf": "datasets/o/r/resolve/refs%2Fpr%2F3/a.gguf",
    "urn:air:flux1:vae:huggingface:org/repo@main:vae/ae.safetensors": "org/repo/resolve/main/vae/ae.safetensors",
}
AT_CIVITAI = {
    f"{CIVITAI}/api/download/models/456": "456",
    f"{CIVITAI}/api/download/models/456?type=Model&format=SafeTensor": "456?type=Model&format=SafeTensor",
    f"{CIVITAI}/models/123/a-style?modelVersionId=456": "456",
    f"{CIVITAI}/models/123?modelVersionId=456": "456",
    "https://civitai.red/models/123?modelVersionId=456": "456",
    "civitai.com/models/123?modelVersionId=456": "456",
    f"{CIVITAI}/api/v1/model-versions/456": "456",
    f"{CIVITAI}/model-versions/456": "456",
    "urn:air:sdxl:lora:civitai:123@456": "456",
    "air:sdxl:lora:civitai:123@456.safetensors": "456",
    "sdxl:lora:civitai:123@456": "456",
    "civitai:123@456": "456",
}
LEADS_TO_NO_FILE = (
    f"{HUB}/org/repo",
    f"{HUB}/org/repo/tree/main",
    f"{HUB}/org/repo/resolve/main",
    "hf://org/repo",
    "hf://org/repo@main",
    "urn:air:flux1:vae:huggingface:org/repo@main",
    f"{CIVITAI}/models",
    f"{CIVITAI}/images/99",
    f"{CIVITAI}/models/123?modelVersionId=latest",
    "civitai:a-style",
)
OF_OTHERS = (
    "https://example.com/org/repo/resolve/main/a.gguf",
    "https://huggingface.co.example.com/org/repo/blob/main/a.gguf",
    "https://example.com/https://huggingface.co/org/repo/blob/main/a.gguf",
    "http://huggingface.co:99999999/a",
    "http://[",
    f"{HUB}/docs/hub/index",
    f"{HUB}/api/models/org/repo",
    f"{CIVITAI}/api/v1/images",
    "/api/v1/view/workflows/w/input/a.png",
    "",
)


@pytest.mark.parametrize("address", ON_THE_HUB)
def test_a_file_on_hugging_face(address: str) -> None:
    found = SITES.file_of(address)

    assert isinstance(found, SiteFile)
    assert found.url == f"{HUB}/{ON_THE_HUB[address]}"
    assert f"{found.page}/resolve/" in found.url
    assert found.name in (ON_THE_HUB[address].rpartition("/")[2], "b c.safetensors")
    assert SITES.file_of(found.url) == found


@pytest.mark.parametrize("address", AT_CIVITAI)
def test_a_file_at_civitai(address: str) -> None:
    found = SITES.file_of(address)

    assert isinstance(found, SiteFile)
    assert found.url == f"{CIVITAI}/api/download/models/{AT_CIVITAI[address]}"
    assert found.page in (f"{CIVITAI}/models/123?modelVersionId=456", f"{CIVITAI}/model-versions/456")


@pytest.mark.parametrize("address", LEADS_TO_NO_FILE)
def test_a_page_that_leads_to_no_file_is_refused(address: str) -> None:
    with pytest.raises(InvalidUrl) as refused:
        SITES.file_of(address)

    assert refused.value.hint


@pytest.mark.parametrize("address", OF_OTHERS, ids=repr)
def test_an_address_of_others_is_left_as_it_is(address: str) -> None:
    assert SITES.file_of(address) is None


def test_a_page_without_a_version_has_to_be_asked_about() -> None:
    assert SITES.file_of(f"{CIVITAI}/models/123/a-style") == Undecided(
        f"{CIVITAI}/api/v1/models/123", f"{CIVITAI}/models/123"
    )
    assert SITES.file_of("civitai:123@456+7.safetensors") == Undecided(
        f"{CIVITAI}/api/v1/model-versions/456", f"{CIVITAI}/models/123?modelVersionId=456", 7
    )


def test_a_mirror_gets_what_is_addressed_to_the_site() -> None:
    sites = ModelSites("https://mirror.example", "https://models.example")

    for address in (f"{HUB}/org/repo/blob/main/a.gguf", "https://mirror.example/org/repo/blob/main/a.gguf"):
        found = sites.file_of(address)
        assert isinstance(found, SiteFile)
        assert found.url == "https://mirror.example/org/repo/resolve/main/a.gguf"
    found = sites.file_of(f"{CIVITAI}/models/1?modelVersionId=2")
    assert isinstance(found, SiteFile)
    assert found.url == "https://models.example/api/download/models/2"


@pytest.mark.parametrize("address", ["hf://o/r/a.gguf", "civitai:1@2", "urn:air:sd1:lora:civitai:1", "hf.co/o/r/a"])
def test_a_file_of_a_run_may_have_any_form(address: str) -> None:
    assert parse_source("/models/loras/a.gguf", address) == Url(address)
    assert is_address(address)


@pytest.mark.parametrize("address", ["ftp://o/r", "c:/models/a.gguf", "models/a.gguf"])
def test_anything_else_is_no_address(address: str) -> None:
    assert not is_address(address)
    with pytest.raises(ComfywardError):
        parse_source("/models/loras/a.gguf", address)


async def test_civitai_is_asked_for_the_newest_version() -> None:
    with civitai() as site:
        files, older = _with_versions(site)

        found = await files.of("ada", f"{site.url}/models/123/a-style")
        assert found == SiteFile(
            Site.CIVITAI,
            f"{site.url}/api/download/models/457",
            f"{site.url}/models/123?modelVersionId=457",
            "new.safetensors",
        )
        asked = await files.of("ada", f"civitai:123@456+{older}")
        assert asked is not None
        assert (asked.url, asked.name) == (f"{site.url}/api/download/models/456", "old.safetensors")
        with pytest.raises(InvalidUrl, match="no file"):
            await files.of("ada", "civitai:123@456+1")
        with pytest.raises(ComfywardError, match="404"):
            await files.of("ada", f"{site.url}/models/999")


async def test_a_token_in_an_address_becomes_a_header() -> None:
    with civitai() as site:
        files, _ = _with_versions(site)
        url = f"{site.url}/api/download/models/456"

        own = (("Authorization", "Bearer hers"),)
        assert await files.resolved("ada", Url(f"{url}?token=hers")) == Url(url, headers=own)
        assert await files.resolved("ada", Url(f"{url}?token=other", headers=own)) == Url(url, headers=own)
        found = await files.resolved("ada", Url(f"{site.url}/models/123?token=hers"))
        assert found == Url(f"{site.url}/api/download/models/457", headers=own)
        assert site.requests[-1].headers["Authorization"] == "Bearer hers"


async def test_the_guard_refuses_a_site_at_a_private_address() -> None:
    with pytest.raises(InvalidUrl, match="private"):
        await site_files(civitai="http://10.1.2.3").of("ada", "civitai:123")


def _with_versions(site: Civitai):
    site.put(123, 456, "old.safetensors", b"old")
    site.put(123, 457, "new.safetensors", b"new")
    return site_files(civitai=site.url), site.described(site.files[456])["files"][0]["id"]
