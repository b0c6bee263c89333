"""Chooses the packages of an environment: once for ComfyUI and all packs together, never pack by pack."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from comfyward.comfy.uv_command import UvFailed
from comfyward.environments import uv
from comfyward.environments.exclusion import explained
from comfyward.environments.lock import LockedPackage
from comfyward.environments.needs import Need
from comfyward.environments.rules import FAMILIES, HELD, TORCH, family_of
from comfyward.environments.spec import Spec
from comfyward.environments.uv import Question

MOST_TRIES = 200  # to prefer versions, of about a second each


@dataclass(frozen=True)
class Asked:
    """Everything that is asked for: by ComfyUI, by each pack, and by the operator.

    `known` are versions that ComfyUI is known to work with; they are used unless something excludes them.
    """

    comfyui: str  # its name in sentences
    core: tuple[str, ...]
    known: tuple[str, ...]
    packs: Mapping[str, tuple[Need, ...]]
    spec: Spec


def resolve(asked: Asked) -> tuple[LockedPackage, ...]:
    """The packages that satisfy everybody. Raises PackagesExclude, naming who excludes whom, or what is missing.

    The packages that ComfyUI gets without packs are kept if possible, so that environments share them; otherwise only
    those that packs must not change. Of the others, those get the version that the operator prefers that can.
    """
    core = _core(asked)
    pins = tuple(f"{package.name}=={package.version}" for package in core)
    questions = [_question(asked, asked.packs, limits) for limits in (pins, _held(pins))]
    asks_more = asked.spec.more or any(asked.packs.values())
    try:
        question, packages = _first_answered(questions) if asks_more else (questions[0], core)
    except UvFailed as failed:

        def fits(packs: Iterable[str]) -> bool:
            chosen = {name: asked.packs[name] for name in packs}
            return _fits(_question(asked, chosen, _held(pins)))

        raise explained(asked.comfyui, asked.packs, pins, fits, str(failed)) from failed
    held = {_name_of(line) for line in (*question.constraints, *question.overrides)}
    versions = tuple(line for line in not_preferred(asked.spec.prefer, packages) if _name_of(line) not in held)
    return _answer(preferring(question, versions, iter(range(MOST_TRIES)))) if versions else packages


def not_preferred(prefer: Iterable[str], packages: Iterable[LockedPackage]) -> tuple[str, ...]:
    """Those of the preferred versions whose package has another one."""
    chosen = {package.name: package.version for package in packages}
    return tuple(line for line in prefer if _is_other(Requirement(line), chosen))


def _is_other(requirement: Requirement, chosen: Mapping[str, str]) -> bool:
    version = chosen.get(canonicalize_name(requirement.name))
    return version is not None and not requirement.specifier.contains(version, prereleases=True)


def _core(asked: Asked) -> tuple[LockedPackage, ...]:
    """The packages that ComfyUI gets without any pack."""
    own = Question(asked.core, (*asked.known, *HELD), asked.spec.force, cutoff=asked.spec.cutoff)
    torch = tuple(pin for pin in asked.known if _name_of(pin) in TORCH)
    return _first_answered([own, dataclasses.replace(own, constraints=(*torch, *HELD))])[1]


def _question(asked: Asked, packs: Mapping[str, tuple[Need, ...]], limits: tuple[str, ...]) -> Question:
    needs = tuple(need.requirement for name in sorted(packs) for need in packs[name])
    forced = {_name_of(line) for line in asked.spec.force}
    constraints = tuple(line for line in (*limits, *HELD) if _name_of(line) not in forced)
    return Question((*asked.core, *needs, *asked.spec.more), constraints, asked.spec.force, (), asked.spec.cutoff)


def _held(pins: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(pin for pin in pins if _name_of(pin) in TORCH)


def preferring(question: Question, versions: tuple[str, ...], tries: Iterator[int]) -> Question:
    """A question that has an answer, with those of the versions that leave it one: halved until only these are left.

    Without more `tries`, the other versions are not preferred: a snapshot may name thousands that exclude all.
    """
    if next(tries, None) is None:
        return question
    wanted = dataclasses.replace(question, constraints=(*question.constraints, *versions))
    if _fits(wanted):
        return wanted
    if len(versions) == 1:
        return question
    half = len(versions) // 2
    return preferring(preferring(question, versions[:half], tries), versions[half:], tries)


def _first_answered(questions: Iterable[Question]) -> tuple[Question, tuple[LockedPackage, ...]]:
    """The first question that has an answer, and the answer. Raises UvFailed with the reason of the last."""
    failed: UvFailed | None = None
    for question in questions:
        try:
            return question, _answer(question)
        except UvFailed as error:
            failed = error
    assert failed is not None
    raise failed


def _fits(question: Question) -> bool:
    try:
        _answer(question)
    except UvFailed:
        return False
    return True


def _answer(question: Question) -> tuple[LockedPackage, ...]:
    """The answer with at most one member of each family, which takes over what is asked of the others."""
    packages = uv.resolve(question)
    names = frozenset(package.name for package in packages)
    excluded = sorted(name for family in FAMILIES for name in family.others_of(names))
    if not excluded:
        return packages
    requirements = tuple(_with_one_of_its_family(line, frozenset(excluded)) for line in question.requirements)
    kept = tuple(sorted({family.kept for family in FAMILIES if family.others_of(names)}))
    return uv.resolve(dataclasses.replace(question, requirements=(*requirements, *kept), excludes=tuple(excluded)))


def _with_one_of_its_family(line: str, excluded: frozenset[str]) -> str:
    requirement = Requirement(line)
    family = family_of(canonicalize_name(requirement.name))
    if family is None or canonicalize_name(requirement.name) not in excluded:
        return line
    marker = f"; {requirement.marker}" if requirement.marker else ""
    return f"{family.kept}{requirement.specifier}{marker}"


def _name_of(line: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", line)
    return canonicalize_name(match[0]) if match else ""
