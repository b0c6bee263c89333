"""What packs say of themselves: author, licence, scripts. Nothing that they hold is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyward.environments.pack_labels import PackLabel, label_of

PROJECT = """
[project]
name = "masks"
description = "Masks for faces."
license = %s
authors = [{name = "Ann"}, {email = "ben@example.com"}, "nobody"]
"""


def made(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_pack_with_everything(tmp_path: Path) -> None:
    files = {"pyproject.toml": PROJECT % '"MIT"', "web__masks.js": "", "web__more__x.mjs": "", "nodes.py": ""}
    assert label_of(made(tmp_path, **files)) == PackLabel("Ann, ben@example.com", "MIT", "Masks for faces.", 2)


@pytest.mark.parametrize(
    ("stated", "text", "licence"),
    [
        ('{file = "LICENSE"}', "MIT License\n\nCopyright", "MIT"),
        ('{text = "Apache-2.0"}', "", "Apache-2.0"),
        ('{text = "MIT License\\nand much more"}', "GNU GENERAL PUBLIC LICENSE\nVersion 3", "GPL-3.0"),
        ("7", "all rights reserved", ""),
    ],
)
def test_its_licence_is_named_or_recognized(tmp_path: Path, stated: str, text: str, licence: str) -> None:
    assert label_of(made(tmp_path, **{"pyproject.toml": PROJECT % stated, "LICENSE": text})).licence == licence


def test_the_registrys_publisher_is_its_author(tmp_path: Path) -> None:
    text = PROJECT % '"MIT"' + '[tool.comfy]\nPublisherId = "someone"\n'
    assert label_of(made(tmp_path, **{"pyproject.toml": text})).author == "someone"


@pytest.mark.parametrize("text", ["not = toml = at all", "project = 7", "[tool]\ncomfy = []\n", "[" * 5000])
def test_a_file_that_says_nothing_is_no_error(tmp_path: Path, text: str) -> None:
    assert label_of(made(tmp_path, **{"pyproject.toml": text})) == PackLabel()


def test_a_pack_that_is_not_here_says_nothing(tmp_path: Path) -> None:
    assert label_of(tmp_path / "nowhere") == PackLabel()
