"""Specs, requirements and files of packs are read within bounds: what is deep, long or odd is refused in words."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyward.environments.archive import unpack
from comfyward.environments.forms import cpack, reading
from comfyward.environments.needs import core_requirements, needs_of
from comfyward.environments.pack_labels import PackLabel, label_of
from comfyward.environments.registry import ComfyRegistry
from comfyward.environments.source import Release, parse_pack
from comfyward.environments.spec import parse_spec
from comfyward.environments.untrusted_texts import toml_table
from comfyward.environments.workshop import Workshop
from comfyward.errors import InvalidEnvironment
from comfyward.files.guard import Guard

COMFYUI = 'comfyui = "0.30.0"\n'
NESTED = f"more = {'[' * 3000}{']' * 3000}\n"
HOSTILE = {
    "nested": NESTED,
    "a number without end": f"cutoff = {'9' * 5000}\n",
    "a table without end": f"[{'.'.join('a' * 30_000)}]\n" + "".join(f"k{number} = 1\n" for number in range(20_000)),
    "a name without end": f"{'.'.join('a' * 60_000)} = 1\n",
    "a quoted name without end": ".".join(['"\\""'] * 60_000) + " = 1\n",
    "a name in an inline table": f"a = {{{'.'.join('a' * 60_000)} = 1}}\n",
}
BRACKETS = f"a; {'(' * 900}os_name == 'nt'{')' * 900}"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_spec_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidEnvironment, match="The spec is not TOML: "):
        parse_spec(COMFYUI + text)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_pack_is_refused_by_name_and_has_no_label(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidEnvironment, match=r"The pyproject\.toml of kj cannot be read: "):
        needs_of("kj", None, text.encode())
    (tmp_path / "pyproject.toml").write_text(text)
    assert label_of(tmp_path) == PackLabel()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_an_imported_file_is_refused(text: str) -> None:
    with pytest.raises(InvalidEnvironment):
        reading.read(text.encode(), {}, Release("0.30.0"))


@pytest.mark.parametrize("quotes", ['"""', "'''", '"', "'", "# "])
def test_dots_in_texts_and_comments_are_no_names(quotes: str) -> None:
    dots = "a.b" * 100
    line = f"{quotes}{dots}" if quotes == "# " else f"x = {quotes}{dots}{quotes} # {dots}"
    assert toml_table(f"{line}\nlast = 1\n")["last"] == 1


@given(st.text("ab.\"'\\#\n= [", max_size=60))
def test_no_text_is_another_error(text: str) -> None:
    try:
        toml_table(text)
    except ValueError as error:
        said = str(error)
    else:
        said = "a table"
    assert said


def test_strings_without_end_take_no_longer_than_others() -> None:
    for part in ('\\"""', '"""\\', "'''", '"\\', "'", '"'):
        with pytest.raises(ValueError, match=r"."):
            toml_table(f"x = {part * 250_000}")


def test_a_requirement_with_brackets_without_end_is_refused() -> None:
    with pytest.raises(InvalidEnvironment, match=r"^kj asks for 'a; \(\("):
        needs_of("kj", BRACKETS.encode(), None)
    with pytest.raises(InvalidEnvironment, match=r"^'a; \(\("):
        parse_spec(f"{COMFYUI}[packages]\nmore = [{json.dumps(BRACKETS)}]\n")
    snapshot = {"cnr_custom_nodes": {}, "pips": {BRACKETS: ""}}
    draft = reading.read(json.dumps(snapshot).encode(), {}, Release("0.30.0"))
    assert draft.spec.prefer == ()
    assert "it is not a requirement of a package" in [each.why for each in draft.lost]


@pytest.mark.parametrize(
    "marker", [r"'\n--extra-index-url http://evil.example/\n'", r"'\x22\x27'", r"'\u2028'", '"\n--no-index"']
)
def test_a_requirement_is_one_line_when_it_is_written_again(marker: str) -> None:
    line = f"a; os_name == {marker}"
    with pytest.raises(InvalidEnvironment, match="which is refused: it is not a requirement with a name"):
        needs_of("kj", None, f"[project]\ndependencies = [{json.dumps(line)}]\n".encode())
    for key in ("more", "force", "prefer"):
        with pytest.raises(InvalidEnvironment, match="is not a requirement such as"):
            parse_spec(f"{COMFYUI}[packages]\n{key} = [{json.dumps(line)}]\n")
    snapshot = {"cnr_custom_nodes": {}, "pips": {line: ""}}
    assert reading.read(json.dumps(snapshot).encode(), {}, Release("0.30.0")).spec.prefer == ()


def test_what_a_comfyui_of_somebody_asks_for_is_refused_in_words() -> None:
    with pytest.raises(InvalidEnvironment, match=r"^ComfyUI asks for '\./local', which is not a requirement"):
        core_requirements(b"numpy\n./local\n")


def test_an_address_that_is_none_is_no_source() -> None:
    with pytest.raises(InvalidEnvironment, match="is not the source of a pack"):
        parse_pack("git+https://[/pack@main")
    with pytest.raises(InvalidEnvironment, match="is not the source of a pack"):
        parse_spec(f'{COMFYUI}[[pack]]\nsource = "git+https://[::1/pack@main"\n')


def test_requirements_in_half_an_encoding_are_read_as_far_as_they_are_one() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(cpack.SNAPSHOT, json.dumps({"cnr_custom_nodes": {"kj": "1.0.0"}}))
        archive.writestr(cpack.REQUIREMENTS, b"\xff\xfe\x00")
    draft = reading.read(out.getvalue(), {}, Release("0.30.0"))
    assert [str(pack) for pack in draft.spec.packs] == ["cnr:kj@1.0.0"]


def test_an_archive_whose_compression_is_none_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(cpack.SNAPSHOT, "{}" * 50)
    content = bytearray(out.getvalue())
    properties = 30 + len(cpack.SNAPSHOT) + 4
    content[properties : properties + 5] = b"\xff" * 5
    with pytest.raises(InvalidEnvironment, match="compressed in a way that is not taken"):
        reading.read(bytes(content), {}, Release("0.30.0"))


@pytest.mark.parametrize("text", ["[" * 200_000, "- " * 200_000, "? " * 100_000, "{a: " * 100_000])
def test_yaml_without_end_ends_no_server(text: str) -> None:
    with pytest.raises(InvalidEnvironment):
        reading.read(text.encode(), {}, Release("0.30.0"))


def test_values_that_are_nested_to_the_limit_are_refused() -> None:
    for depth in range(850, 1000):
        nested = "[" * depth + "]" * depth
        content = f'{{"cnr_custom_nodes": {{"kj": {nested}}}}}'.encode()
        try:
            draft = reading.read(content, {}, Release("0.30.0"))
        except InvalidEnvironment:
            continue
        assert draft.spec.packs == ()


def test_an_archive_without_files_is_no_pack(tmp_path: Path) -> None:
    empty, only_folders = tmp_path / "empty.zip", tmp_path / "folders.zip"
    with zipfile.ZipFile(empty, "w"):
        pass
    with zipfile.ZipFile(only_folders, "w") as archive:
        archive.writestr("one/", "")
    sources = Workshop.below(tmp_path / "environments", ComfyRegistry("", Guard())).sources
    for path in (empty, only_folders):
        with pytest.raises(InvalidEnvironment, match="holds no files"):
            unpack(path, tmp_path / f"{path.stem}-unpacked")
        with pytest.raises(InvalidEnvironment, match="holds no files"):
            sources.add_folder(path)
