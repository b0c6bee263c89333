"""A pack of the package index whose name or version does not exist is refused when it is added, where that is known."""

from __future__ import annotations

import pytest

from comfyward.environments import index
from comfyward.environments.source import Git, Package
from comfyward.errors import InvalidEnvironment
from tests.fakes.http import Content, Origin


@pytest.fixture(autouse=True)
def _index(site: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has version 0.1.0 of the package `painted-nodes`."""
    wheel = "painted_nodes-0.1.0-py3-none-any.whl"
    link = f'<a href="../../files/{wheel}#sha256={"0" * 64}" data-requires-python=">=3.8">{wheel}</a>'
    site.files["/simple/painted-nodes/"] = Content(link.encode(), headers={"content-type": "text/html"})
    site.files[f"/files/{wheel}.metadata"] = Content(b"Metadata-Version: 2.1\nName: painted-nodes\nVersion: 0.1.0\n")
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"{site.url}/simple/")


@pytest.mark.parametrize(
    ("package", "says"),
    [
        (Package("painted-nodes", "99"), "The package index has no version 99 of 'painted-nodes'."),
        (Package("paintd-nodes", "0.1.0"), "The package index has no package 'paintd-nodes'."),
    ],
)
def test_what_the_index_does_not_have_is_named(package: Package, says: str) -> None:
    with pytest.raises(InvalidEnvironment) as refused:
        index.check([Git("https://git.example.com/a/b", "main"), package])

    assert refused.value.message == says


def test_what_it_has_is_taken() -> None:
    index.check([Package("painted-nodes", "0.1.0")])


def test_an_index_that_does_not_answer_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple/")

    index.check([Package("painted-nodes", "99")])
