"""A server and a worker in separate processes, for benchmarks."""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from comfyward.server_settings import default_data_dir  # noqa: E402
from tests.stack.stack import Stack  # noqa: E402


@contextlib.contextmanager
def started(**settings: str) -> Iterator[Stack]:
    """A started server, by default with one CPU worker and the real ComfyUI."""
    settings.setdefault("environments_dir", str(default_data_dir() / "environments"))
    settings.setdefault("fetch_allow", "127.0.0.1")
    with tempfile.TemporaryDirectory(prefix="cw-bench-") as folder:
        stack = Stack(Path(folder), settings)
        try:
            yield stack.start()
        finally:
            stack.stop()
            stack.close()


def quantiles(values_s: list[float]) -> dict[str, float]:
    """p50, p90 and p99 in milliseconds."""
    ordered = sorted(value * 1000 for value in values_s)
    return {
        "p50_ms": round(statistics.median(ordered), 2),
        "p90_ms": round(ordered[int(len(ordered) * 0.9)], 2),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 2),
    }


def report(name: str, figures: dict[str, object], path: Path | None = None) -> None:
    """A table for people, and a line of JSON for machines, also at the end of a file if one is named."""
    width = max(len(str(key)) for key in figures)
    print(f"\n{name}")
    for key, value in figures.items():
        print(f"  {key:<{width}}  {value}")
    line = json.dumps({"bench": name, **figures})
    print(line)
    if path is not None:
        with path.open("a") as file:
            file.write(line + "\n")
