"""Every start has a fresh copy of each pack, with bytecode that belongs to exactly its source."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from comfyward.comfy import bytecode, private_copy
from comfyward.comfy.bytecode import Bytecode

PYTHON = Path(sys.executable)


class Packs:
    """A folder of packs, and the copies that starts get."""

    def __init__(self, folder: Path) -> None:
        self.originals, self._folder = folder / "originals", folder
        self.bytecode = Bytecode()

    def write(self, name: str, text: str) -> Path:
        path = self.originals / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        return path

    def copy(self, name: str) -> Path:
        copy = self._folder / name
        private_copy.of_packs(self.originals, copy)
        self.bytecode.add_to(copy, PYTHON)
        return copy


@pytest.fixture
def packs(tmp_path: Path) -> Packs:
    packs = Packs(tmp_path)
    packs.write("one/__init__.py", "from .part import VALUE\n")
    packs.write("one/part.py", "VALUE = 'first'\n")
    return packs


def loaded(copy: Path, statement: str = "import one; print(one.VALUE)") -> tuple[str, set[str]]:
    """The output of a statement, and the modules of the copy that Python had no need to compile."""
    done = subprocess.run([PYTHON, "-B", "-v", "-c", statement], cwd=copy, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("# code object from") and str(copy) in line]
    return done.stdout.strip(), {line.split("/")[-1].split(".")[0] for line in lines if ".pyc" in line}


def bytecode_of(copy: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in copy.rglob("*.pyc")}


def test_no_module_is_compiled_at_a_start(packs: Packs) -> None:
    assert loaded(packs.copy("a")) == ("first", {"__init__", "part"})


def test_each_source_is_compiled_once(packs: Packs, monkeypatch: pytest.MonkeyPatch) -> None:
    first = packs.copy("a")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **named: pytest.fail("compiled again"))

    assert bytecode_of(packs.copy("b")) == bytecode_of(first)


def test_another_source_of_the_same_size_and_time_has_other_bytecode(packs: Packs) -> None:
    packs.copy("a")
    packs.write("one/part.py", "VALUE = 'other'\n")

    assert loaded(packs.copy("b")) == ("other", {"__init__", "part"})


def test_a_pack_that_rewrites_its_module_gets_what_it_wrote(packs: Packs) -> None:
    copy = packs.copy("a")
    times = (copy / "one/part.py").stat()
    (copy / "one/part.py").write_text("VALUE = 'other'\n")
    os.utime(copy / "one/part.py", ns=(times.st_atime_ns, times.st_mtime_ns))

    assert loaded(copy) == ("other", {"__init__"})


def test_bytecode_that_a_comfyui_changed_is_in_no_later_copy(packs: Packs) -> None:
    first = packs.copy("a")
    before = bytecode_of(first)
    for path in first.rglob("*.pyc"):
        path.write_bytes(b"changed")

    assert bytecode_of(packs.copy("b")) == before


def test_bytecode_in_the_original_folder_is_not_used(packs: Packs) -> None:
    path = packs.originals / "one" / "__pycache__" / f"part.{sys.implementation.cache_tag}.pyc"
    path.parent.mkdir()
    subprocess.run(
        [
            *(PYTHON, "-c"),
            "import py_compile, sys;"
            "open('x.py', 'w').write(\"VALUE = 'stale'\\n\");"
            "py_compile.compile('x.py', sys.argv[1],"
            " invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)",
            str(path),
        ],
        cwd=packs.originals.parent,
        check=True,
    )

    assert loaded(packs.copy("a")) == ("first", {"__init__", "part"})


def test_a_source_that_does_not_compile_hinders_no_other(packs: Packs) -> None:
    for name, text in (("a", "("), ("b", "x = \0"), ("c", "(" * 100_000), ("d", "-" * 1_000_000 + "1")):
        packs.write(f"one/{name}.py", text)

    assert loaded(packs.copy("a")) == ("first", {"__init__", "part"})


def test_a_compiler_that_ends_leaves_out_the_source_at_which_it_did(
    packs: Packs, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = bytecode._COMPILE.replace("    try:", '    "fatal" in str(source) and sys.exit()\n    try:')
    monkeypatch.setattr(bytecode, "_COMPILE", ending)
    packs.write("one/middle.py", "fatal = 1")

    assert {name.split(".")[0] for name in bytecode_of(packs.copy("a"))} == {"__init__", "part"}


def test_links_in_a_copy_are_not_written_through(packs: Packs, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "elsewhere.py").write_text("")
    (packs.originals / "one" / "linked").symlink_to(outside)
    (packs.originals / "one" / "part").mkdir()
    packs.write("one/part/deep.py", "")
    copy = tmp_path / "copy"
    private_copy.of_packs(packs.originals, copy)
    (copy / "one" / "part" / "__pycache__").symlink_to(outside)

    packs.bytecode.add_to(copy, PYTHON)

    assert [path.name for path in outside.iterdir()] == ["elsewhere.py"]
    assert "deep" not in "".join(bytecode_of(copy))
