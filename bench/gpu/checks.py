"""The checks, in order, each with the most seconds that it may take, and the run of them all before a deadline."""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from bench.gpu import devices, gpu, kills, memory, models, speed
from bench.gpu.lab import Lab
from bench.gpu.report import Line, Outcome, Report, Verdict
from comfyward import __version__

LEAST_S = 3.0  # a check is not begun with less time than this


@dataclass(frozen=True)
class Check:
    name: str
    most_s: int
    run: Callable[[Lab], Outcome]
    needs_gpu: bool = False  # without one it would show nothing that other tests do not


CHECKS = (
    Check("devices", 20, devices.names),
    Check("bubblewrap", 60, devices.bubblewrap, needs_gpu=True),
    Check("landlock", 60, devices.landlock, needs_gpu=True),
    Check("no walls", 110, devices.without_walls, needs_gpu=True),
    Check("out of memory", 90, memory.out_of_memory),
    Check("larger pool", 60, memory.larger_pool),
    Check("fault", 60, memory.fault),
    Check("switch", 30, memory.switch_of_account),
    Check("checkpoint", 90, models.checkpoint),
    Check("previews", 30, models.previews),
    Check("read ahead", 60, models.read_ahead),
    Check("overhead", 30, speed.overhead),
    Check("pipeline", 40, speed.pipeline),
    Check("kill ComfyUI", 40, kills.comfyui),
    Check("kill worker", 60, kills.worker, needs_gpu=True),
    Check("kill start", 60, kills.starting, needs_gpu=True),
    Check("stop", 30, memory.nothing_left, needs_gpu=True),
    Check("kill server", 60, kills.server),
)
WITHOUT_GPU = Check("walls", 60, devices.best_walls)


class TooLong(Exception):
    """A check has used up its time."""


def main(arguments: list[str]) -> int:
    """0 if all was shown that could be, else 1."""
    asked = _parsed(arguments)
    card = None if asked.cpu else gpu.card()
    lab = Lab(asked.comfyui.resolve(), asked.python.absolute(), asked.out.resolve(), has_gpu=card is not None)
    about = {"card": card and card.name, "uuid": card and card.uuid, "driver": card and card.driver}
    about |= {"comfyward": __version__, "comfyui": str(lab.comfyui), "python": str(lab.python)}
    report = Report(lab.out, about)
    signal.signal(signal.SIGALRM, _too_long)
    signal.signal(signal.SIGTERM, _ended)
    try:
        lab.begin()
        for check in _chosen(lab.has_gpu, asked.only):
            report.add(_line(check, lab, asked.deadline, asked.patience))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        lab.close()
        report.write()
    return int(report.has_failed)


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gpu-check")
    parser.add_argument("--comfyui", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--deadline", type=float, required=True, help="seconds since the epoch")
    parser.add_argument("--patience", type=float, default=1.0, help="how many times its time each check may take")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    return parser.parse_args(arguments)


def _chosen(has_gpu: bool, only: list[str]) -> list[Check]:
    checks = [check for check in CHECKS if has_gpu or not check.needs_gpu]
    if not has_gpu:
        checks.insert(1, WITHOUT_GPU)
    return [check for check in checks if not only or check.name in only or check.name == "devices"]


def _line(check: Check, lab: Lab, deadline: float, patience: float) -> Line:
    """Whatever a check raises is its problem alone."""
    began, left_s = time.monotonic(), deadline - time.time()
    if left_s < LEAST_S:
        return Line(check.name, Verdict.TOO_LATE, 0.0, {})
    signal.setitimer(signal.ITIMER_REAL, min(check.most_s * patience, left_s))
    try:
        outcome = check.run(lab)
        problem = None
    except Exception as error:
        outcome, problem = Outcome(), "".join(traceback.format_exception(error)).strip()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    verdict = Verdict.FAILED if problem else Verdict.PARTLY if outcome.not_shown else Verdict.SHOWN
    took_s = round(time.monotonic() - began, 1)
    return Line(check.name, verdict, took_s, outcome.figures, outcome.not_shown, problem)


def _too_long(_: int, frame: FrameType | None) -> None:
    raise TooLong("it took longer than it may")


def _ended(_: int, frame: FrameType | None) -> None:
    raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
