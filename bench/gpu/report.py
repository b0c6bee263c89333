"""What the checks have shown: a line of text for each as it goes, then report.json and a table."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class Verdict(StrEnum):
    SHOWN = "shown"
    PARTLY = "partly shown"
    FAILED = "failed"
    TOO_LATE = "no time left"


@dataclass(frozen=True)
class Outcome:
    """The figures of a check, and the sentences about what it could not show here."""

    figures: dict[str, Any] = field(default_factory=dict)
    not_shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    check: str
    verdict: Verdict
    seconds: float
    figures: dict[str, Any]
    not_shown: tuple[str, ...] = ()
    problem: str | None = None


class Report:
    """Is written after each check, so that one that is killed leaves those before it."""

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self._folder, self._about = folder, about
        self.lines: list[Line] = []

    def add(self, line: Line) -> None:
        self.lines.append(line)
        told = [f"{name} {_short(value)}" for name, value in line.figures.items()]
        told += [f"not shown: {sentence}" for sentence in line.not_shown]
        told += [line.problem.splitlines()[-1]] if line.problem else []
        print(f"{line.verdict:<12}  {line.check:<14} {line.seconds:6.1f} s  {'; '.join(told)}", flush=True)
        self.write()

    def write(self) -> None:
        checks = [asdict(line) for line in self.lines]
        said = {**self._about, "written_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "checks": checks}
        (self._folder / "report.json").write_text(json.dumps(said, indent=1, default=str))
        (self._folder / "report.md").write_text(self.table())

    def table(self) -> str:
        """A table in Markdown, under what it is about."""
        rows = [
            f"| {line.check} | {line.verdict} | {_short(name)} | {_short(value)} |"
            for line in self.lines
            for name, value in (line.figures or {"": ""}).items()
        ]
        rows += [f"| {line.check} | not shown | | {sentence} |" for line in self.lines for sentence in line.not_shown]
        rows += [f"| {line.check} | {line.verdict} | | {_short(line.problem)} |" for line in self.lines if line.problem]
        head = [f"- {name}: {_short(value)}" for name, value in self._about.items()]
        return "\n".join([*head, "", "| check | verdict | figure | value |", "|---|---|---|---|", *rows, ""])

    @property
    def has_failed(self) -> bool:
        return any(line.verdict in (Verdict.FAILED, Verdict.TOO_LATE) for line in self.lines)


def _short(value: object) -> str:
    text = " ".join(str(value).split()).replace("|", "/")
    return text if len(text) <= 200 else f"{text[:80]} … {text[-110:]}"
