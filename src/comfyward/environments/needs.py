"""The requirements of a pack: those in its requirements.txt, else those in its pyproject.toml."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from comfyward.environments.rules import NEVER, TORCH
from comfyward.environments.untrusted_texts import parse_requirement, toml_table
from comfyward.errors import InvalidEnvironment

# Options that say where packages come from or how they are built: that is the operator's choice.
_IGNORED_OPTIONS = re.compile(
    r"(-i|--index-url|--extra-index-url|--pre|--prefer-binary|--no-binary|--only-binary|--require-hashes"
    r"|--trusted-host|--no-index)\b"
)
_COMMENT = re.compile(r"(^|\s)#.*$")
_HASH = re.compile(r"\s--hash[= ]\S+")


@dataclass(frozen=True)
class Need:
    """One requirement, and where the pack states it."""

    requirement: str
    where: str  # such as "requirements.txt, line 4"

    @property
    def name(self) -> str:
        return canonicalize_name(Requirement(self.requirement).name)


@dataclass(frozen=True)
class Ignored:
    """A line that has no effect, and the reason."""

    line: str
    where: str
    reason: str


@dataclass(frozen=True)
class Needs:
    """Everything that a pack asks for."""

    asked: tuple[Need, ...] = ()
    ignored: tuple[Ignored, ...] = ()


def needs_of(pack: str, requirements: bytes | None, pyproject: bytes | None) -> Needs:
    """The needs of a pack, from the contents of its two files. Raises InvalidEnvironment, naming pack and line."""
    if requirements is None:
        return needs_in(pack, [(line, "pyproject.toml") for line in _dependencies(pack, pyproject)])
    lines = _lines(decoded(requirements))
    return needs_in(pack, [(line, f"requirements.txt, line {number}") for number, line in lines])


def needs_in(pack: str, lines: Iterable[tuple[str, str]]) -> Needs:
    """The needs in (line, where it stands). Raises InvalidEnvironment, naming pack and line."""
    judged = [_judged(pack, line, where) for line, where in lines]
    return Needs(
        tuple(each for each in judged if isinstance(each, Need)),
        tuple(each for each in judged if isinstance(each, Ignored)),
    )


def core_requirements(requirements: bytes) -> tuple[str, ...]:
    """ComfyUI's own requirements, without its editor, which is served from elsewhere. Raises InvalidEnvironment."""
    lines = (line for _, line in _lines(decoded(requirements)) if not line.startswith("-"))
    return tuple(line for line in lines if _core_name(line) not in NEVER)


def _core_name(line: str) -> str:
    try:
        return canonicalize_name(parse_requirement(line).name)
    except InvalidRequirement as error:
        raise InvalidEnvironment(f"ComfyUI asks for '{line}', which is not a requirement with a name.") from error


def decoded(content: bytes) -> str:
    """The text of a file of a pack, whose authors use any encoding."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1", errors="replace")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """(number, line) for each that says something, without comments; a line that is continued has its first number."""
    begun, number_begun = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        part = _COMMENT.sub("", line).strip()
        begun, number_begun = (f"{begun} {part}", number_begun) if begun else (part, number)
        if begun.endswith("\\"):
            begun = begun.removesuffix("\\").rstrip()
            continue
        if begun:
            yield number_begun, begun
        begun = ""
    if begun:
        yield number_begun, begun


def _dependencies(pack: str, pyproject: bytes | None) -> list[str]:
    if pyproject is None:
        return []
    try:
        project = toml_table(decoded(pyproject)).get("project", {})
    except ValueError as error:
        raise InvalidEnvironment(f"The pyproject.toml of {pack} cannot be read: {error}.") from error
    found = project.get("dependencies", []) if isinstance(project, dict) else []
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _judged(pack: str, line: str, where: str) -> Need | Ignored:
    if _IGNORED_OPTIONS.match(line):
        return Ignored(line, where, "packages come from the operator's index")
    if line.startswith("-"):
        raise _refused(pack, line, where, "options that read other files are not followed")
    try:
        requirement = parse_requirement(_HASH.sub("", line))
    except InvalidRequirement as error:
        raise _refused(pack, line, where, "it is not a requirement with a name") from error
    if requirement.url is not None:
        raise _refused(pack, line, where, "it would be built from an address")
    name = canonicalize_name(requirement.name)
    if name in TORCH:
        return Ignored(line, where, "ComfyUI decides the version")
    if name in NEVER:
        return Ignored(line, where, "packs do not choose it")
    return Need(str(requirement), where)


def _refused(pack: str, line: str, where: str, why: str) -> InvalidEnvironment:
    return InvalidEnvironment(
        f"{pack} asks for '{line}' ({where}), which is refused: {why}.",
        hint="Add a copy of its folder without that line, and what it needs to 'packages.more'.",
    )
