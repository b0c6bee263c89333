"""Runs uv: to find wheels that fit together, and to make an environment with exactly these."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from comfyward.comfy.uv_command import Progress, follow, lines, run
from comfyward.environments.lock import LockedPackage, Wheel
from comfyward.sandbox.temporary import TemporaryFolder


@dataclass(frozen=True)
class Question:
    """A question to the resolver: requirements, and what limits the answers."""

    requirements: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    cutoff: str | None = None
    with_dependencies: bool = True


def version() -> str:
    return "".join(lines("--version")).split()[1]


def resolve(question: Question, variables: Mapping[str, str] = MappingProxyType({})) -> tuple[LockedPackage, ...]:
    """The newest packages that fit together, with the wheels that fit this Python. Nothing is built.

    `variables` are settings of uv that it takes from nowhere else. Raises UvFailed.
    """
    with TemporaryFolder() as folder:
        arguments = ["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-sources"]
        arguments += ["--only-binary", ":all:", "--python", sys.executable, "--format", "pylock.toml"]
        arguments += [str(_written(folder / "asked.in", question.requirements)), "-o", str(folder / "pylock.toml")]
        for option in ("constraints", "overrides", "excludes"):
            if lines := getattr(question, option):
                arguments += [f"--{option}", str(_written(folder / f"{option}.txt", lines))]
        if question.cutoff:
            arguments += ["--exclude-newer", question.cutoff]
        if not question.with_dependencies:
            arguments.append("--no-deps")
        run(*arguments, variables=variables)
        found = tomllib.loads((folder / "pylock.toml").read_text())
    return tuple(map(_package, found.get("packages", ())))


def create(folder: Path) -> Path:
    """A new, empty environment that may be moved. Returns its Python."""
    run("venv", "--quiet", "--relocatable", "--python", sys.executable, str(folder))
    return folder / "bin" / "python"


def install(python: Path, packages: Iterable[LockedPackage], progress: Progress) -> None:
    """Puts exactly these packages into an empty environment, by hard links where it can. Raises UvFailed."""
    with TemporaryFolder() as folder:
        pins = _written(folder / "pins.txt", map(_pinned, packages))
        arguments = ["--only-binary", ":all:", "--require-hashes", "--no-deps", "-r", str(pins)]
        follow(lines("pip", "install", "--python", str(python), *arguments), "packages", progress)


def unpack_wheel(package: LockedPackage, target: Path) -> None:
    """Unpacks one package into a folder, as files of its own. Raises UvFailed."""
    with TemporaryFolder() as folder:
        pins = _written(folder / "pins.txt", [_pinned(package)])
        arguments = ["--only-binary", ":all:", "--require-hashes", "--no-deps", "--link-mode", "copy"]
        arguments += ["--python", sys.executable, "--target", str(target), "-r", str(pins)]
        run("pip", "install", "--quiet", *arguments)


def _package(found: dict[str, Any]) -> LockedPackage:
    return LockedPackage(found["name"], found["version"], tuple(map(_wheel, found.get("wheels", ()))))


def _wheel(found: dict[str, Any]) -> Wheel:
    address = found.get("url") or found.get("path") or found.get("name", "")
    file = unquote(urlsplit(address).path.rpartition("/")[2])
    return Wheel(file, found.get("size", 0), found["hashes"]["sha256"])


def _pinned(package: LockedPackage) -> str:
    hashes = " ".join(f"--hash=sha256:{wheel.sha256}" for wheel in package.wheels)
    return f"{package.name}=={package.version} {hashes}"


def _written(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path
