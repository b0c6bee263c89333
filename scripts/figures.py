"""Writes the measured figures into docs/scale.md, from the JSON of benchmarks: `python scripts/figures.py`.

To measure anew, run `bench.scale` and `bench.downloads` with `--json` and the names of the files in docs/figures/.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"
TARGET = DOCS / "scale.md"
BEGIN, END = "<!-- figures: from docs/figures/ by scripts/figures.py -->\n", "<!-- end of figures -->\n"


def page(text: str, folder: Path = DOCS / "figures") -> str:
    """The page with the figures of a folder's files."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    placement, free, limited = (_read(folder, name) for name in ("placement", "downloads", "downloads-limited"))
    return head + BEGIN + _placement(placement) + "\n" + _downloads(free, limited) + END + tail


def _placement(found: dict[str, Any]) -> str:
    policies = found["policies"]
    runs = policies["comfyward"]["runs"]
    lines = [
        f"{found['workers']:,} workers, {runs:,} runs of {found['accounts']} accounts, "
        f"{found['environments']} environments, {found['models']} models,",
        f"{found['losses_per_hour']:.0%} of the workers lost in an hour (`bench/scale.py`):",
        "",
        "| order | wait, p50 / p95 / p99 s | worst account's p95 s | not executing | switches | credits / 1,000 runs |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in policies.items():
        waits = " / ".join(f"{each['wait_s'][share]:.0f}" for share in ("p50", "p95", "p99"))
        lines.append(
            f"| {name} | {waits} | {each['worst_account_s']['p95']:.0f} | {each['idle_share_in_backlog']:.1%} "
            f"| {each['switches']:,} | {each['credits_per_1000_runs']:.1f} |"
        )
    over = policies["comfyward"]["idle_share_in_backlog"] - policies["clairvoyant"]["idle_share_in_backlog"]
    decision = found["decision_ms"]
    return "\n".join(
        [
            *lines,
            "",
            f"Beside the clairvoyant order, {over * 100:.1f} points more of the GPUs' time go to starts and loads. "
            f"A decision took {decision['median']:.0f} ms",
            f"(median; p99 {decision['p99']:.0f} ms) while other programs used the machine.",
            "",
        ]
    )


def _downloads(free: dict[str, Any], limited: dict[str, Any]) -> str:
    names = list(free["mib_per_s"])
    lines = [
        f"Downloads of {free['size_mib']:,} MiB from loopback, MiB/s (`bench/downloads.py`); ours are hashed, synced:",
        "",
        f"| | {' | '.join(names)} |",
        "|---" * (len(names) + 1) + "|",
    ]
    for found in (free, limited):
        rate = found["rate_mib_per_connection"]
        label = f"{rate:.0f} MiB/s for each connection" if rate else "no limit"
        lines.append(f"| {label} | {' | '.join(str(found['mib_per_s'][name]) for name in names)} |")
    return "\n".join([*lines, ""])


def _read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return found


if __name__ == "__main__":
    TARGET.write_text(page(TARGET.read_text()))
