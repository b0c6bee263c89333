"""Says in one sentence why packages cannot be installed together: who asks for what, and who for something else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from comfyward.comfy.uv_command import UvFailed
from comfyward.environments import uv
from comfyward.environments.needs import Need
from comfyward.environments.rules import HELD
from comfyward.environments.target import PLATFORM, PYTHON
from comfyward.environments.uv import Question
from comfyward.errors import PackagesExclude

_UNKNOWN = re.compile(r"Because \S+ was not found in the package registry")
_NO_WHEEL = re.compile(r"(\S+?)(?:==(\S+))? has no (?:usable )?wheels")
_NO_VERSION = re.compile(r"there (?:is|are) no versions? of (\S+?)[ ,]")

Packs = Mapping[str, tuple[Need, ...]]


def explained(
    comfyui: str, packs: Packs, pins: tuple[str, ...], fits: Callable[[Iterable[str]], bool], said: str
) -> PackagesExclude:
    """The error for packs that do not fit together. `fits(packs)` is True for some that do; `said` are uv's words."""
    guilty = _smallest(list(packs), fits) if fits(()) else []
    match guilty:
        case []:
            return _error(f"The packages of {comfyui} and those in 'packages' cannot be installed together.", said)
        case [one]:
            return _against_comfyui(comfyui, one, packs[one], pins, said)
        case [one, other]:
            return _against_each_other((one, packs[one]), (other, packs[other]), said)
        case _:
            return _error(f"{', '.join(guilty[:-1])} and {guilty[-1]} cannot be installed together.", said)


def _smallest(packs: list[str], fits: Callable[[Iterable[str]], bool]) -> list[str]:
    """A smallest set of packs that do not fit together: without any one of them, the others do."""
    for pack in list(packs):
        without = [each for each in packs if each != pack]
        if not fits(without):
            packs = without
    return packs


def _against_comfyui(
    comfyui: str, pack: str, needs: tuple[Need, ...], pins: tuple[str, ...], said: str
) -> PackagesExclude:
    for need in needs:
        limits = [line for line in HELD if _name(line) == need.name]
        if (words := _refusal((need.requirement,), limits)) is None:
            continue
        asks = f"{pack} asks for {need.requirement} ({need.where})"
        if _UNKNOWN.search(words):
            return _error(f"The pack {pack} asks for '{need.name}', which no package index has ({need.where}).", said)
        if match := _NO_WHEEL.search(words):
            python = f"Python {PYTHON} on {PLATFORM}"
            name = f"{match[1]} {match[2]}" if match[2] else match[1]
            return _error(f"{asks}, but {name} has no wheel for {python}, and nothing is built from source.", said)
        if _NO_VERSION.search(words):
            return _error(f"{asks}, but there is no such version.", said)
        pin = next((pin for pin in pins if _name(pin) == need.name), None)
        has = pin.replace("==", " ") if pin else limits[0]
        return _error(f"{asks}; {comfyui} here has {has}.", said)
    return _error(f"What {pack} asks for does not fit {comfyui}.", said)


def _against_each_other(
    one: tuple[str, tuple[Need, ...]], other: tuple[str, tuple[Need, ...]], said: str
) -> PackagesExclude:
    for need in one[1]:
        for theirs in other[1]:
            if need.name == theirs.name and _refusal((need.requirement, theirs.requirement), ()) is not None:
                return _error(f"{one[0]} asks for {need.requirement}; {other[0]} asks for {theirs.requirement}.", said)
    return _error(f"{one[0]} and {other[0]} ask for packages that exclude each other.", said)


def _refusal(requirements: tuple[str, ...], limits: Iterable[str]) -> str | None:
    """uv's words if these alone exclude each other, whatever they depend on; None if they do not."""
    try:
        uv.resolve(Question(requirements, tuple(limits), with_dependencies=False))
    except UvFailed as failed:
        return " ".join(str(failed).split())
    return None


def _error(sentence: str, said: str) -> PackagesExclude:
    hint = "Leave a pack out, take another version, give it an environment of its own, or use 'packages.force'."
    return PackagesExclude(sentence, hint=hint, resolver=said)


def _name(line: str) -> str:
    return canonicalize_name(Requirement(line).name)
