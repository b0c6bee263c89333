"""Writes the measured figures into docs/scale.md, from the JSON of benchmarks: `python scripts/figures.py`.

To measure anew, run `bench.scale`, `bench.downloads` and `bench.warm` with `--json` and the names of the files in
docs/figures/. The files of `bench.dispatch`, `bench.rows` and `bench.followers` (`.jsonl`) get a line for each
measurement.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"
TARGET = DOCS / "scale.md"
BEGIN, END = "<!-- figures: from docs/figures/ by scripts/figures.py -->\n", "<!-- end of figures -->\n"
BEGIN_SERVERS = "<!-- figures of servers: from docs/figures/ by scripts/figures.py -->\n"
ROWS = ("get", "list, newest 50", "list, failed", "queue position", "queue lengths", "claim", "submit")  # in this order


def page(text: str, folder: Path = DOCS / "figures") -> str:
    """The page with the figures of a folder's files."""
    placement, free, limited = (_read(folder, name) for name in ("placement", "downloads", "downloads-limited"))
    parts = (_placement(placement), _downloads(free, limited), _warm(_read(folder, "warm")))
    text = _with(text, BEGIN, "\n".join(parts))
    return _with(text, BEGIN_SERVERS, _servers(folder))


def _with(text: str, begin: str, figures: str) -> str:
    """The page with one of its parts written anew."""
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(END)
    return head + begin + figures + END + tail


def _servers(folder: Path) -> str:
    dispatched, rows, followed = (_read_lines(folder, name) for name in ("dispatch", "rows", "followers"))
    many = [each for each in dispatched if each["workers"] == 1_000]
    rates = [each["rate"] for each in many]
    slower, fastest = min(rates), max(rates)
    most = [_range([each for each in many if each["servers"] == n and each["rate"] == fastest]) for n in (1, 2)]
    steady = [_hand_outs([each for each in many if each["servers"] == n and each["rate"] < fastest]) for n in (1, 2)]
    lines = [
        "| 1,000 workers (`bench/dispatch.py`) | one server, SQLite | two servers, PostgreSQL |",
        "|---|---|---|",
        f"| runs per second at most (submit, assign, two reports) | {most[0]} | {most[1]} |",
        f"| from submission to worker at {slower:.0f} submissions/s, p50 / p99 ms | {steady[0]} | {steady[1]} |",
        "",
    ]
    for each in rows:
        lines += [
            f"With {each['finished']:,} finished and {each['waiting']:,} waiting runs on PostgreSQL, "
            "p50 / p99 in ms (`bench/rows.py`):",
            "",
            f"| {' | '.join(ROWS)} |",
            "|---" * len(ROWS) + "|",
            f"| {' | '.join(each[name] for name in ROWS)} |",
            "",
        ]
    for each in followed:
        lines += [
            f"A server with {each['workers']:,} waiting workers and {each['followers']:,} followers of runs uses "
            f"{each['with_followers_too_mb']} MiB of memory,",
            f"{each['after_that_mb']} MiB after {each['held_s']:g} s: {each['kb_per_worker']:g} KiB for each worker, "
            f"{each['kb_per_follower']:g} KiB for each follower (`bench/followers.py`).",
            "",
        ]
    return "\n".join(lines)


def _range(measured: list[dict[str, Any]]) -> str:
    rates = sorted(round(each["runs_per_s"]) for each in measured)
    return f"{rates[0]} to {rates[-1]}" if len(rates) > 1 else str(rates[0])


def _hand_outs(measured: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{each['hand_out_p50_ms']:.0f} / {each['hand_out_p99_ms']:.0f} (took {each['runs_per_s']:.0f}/s)"
        for each in measured
    )


def _placement(found: dict[str, Any]) -> str:
    policies = found["policies"]
    runs = policies["comfyward"]["runs"]
    lines = [
        f"{found['workers']:,} workers, {runs:,} runs of {found['accounts']} accounts, "
        f"{found['environments']} environments, {found['models']} models,",
        f"{found['losses_per_hour']:.0%} of the workers lost in an hour (`bench/scale.py`):",
        "",
        "| order | wait, p50 / p95 / p99 s | median account's | worst account's | not executing | switches | cost |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, each in policies.items():
        waits = [
            " / ".join(f"{each[which][share]:.0f}" for share in ("p50", "p95", "p99"))
            for which in ("wait_s", "median_of_accounts_s", "worst_account_s")
        ]
        lines.append(
            f"| {name} | {' | '.join(waits)} | {each['idle_share_in_backlog']:.1%} | {each['switches']:,} "
            f"| {each['credits_per_1000_runs']:.1f} |"
        )
    over = policies["comfyward"]["idle_share_in_backlog"] - policies["clairvoyant"]["idle_share_in_backlog"]
    decision = found["decision_ms"]
    return "\n".join(
        [
            *lines,
            "",
            f"Beside the clairvoyant order, {over * 100:.1f} points more of the GPUs' time go to starts and loads. "
            "A decision for up to",
            f"1,000 workers took {decision['median']:.0f} ms (median; p99 {decision['p99']:.0f} ms) "
            "while other programs used the machine.",
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


def _warm(found: dict[str, Any]) -> str:
    median_s = found["median_s"]
    lines = [
        "| a model (`bench/warm.py`, on a processor) | |",
        "|---|---|",
        f"| {found['mib']} MiB, cold on the disk, to the first step after it: ComfyUI, started by hand | "
        f"{median_s['by hand']:.1f} s |",
        f"| the same in the run that is next, while another one executes for {found['busy_s']:.0f} s | "
        f"{median_s['next']:.1f} s (of each pair: {found['ratio']:.2f} of it) |",
    ]
    lines += [
        f"| a run waits for a cached file of {size} | {each['median']:.1f} ms (p99 {each['p99']:.1f}) |"
        for size, each in found["staged_ms"].items()
    ]
    return "\n".join([*lines, ""])


def _read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return found


def _read_lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    TARGET.write_text(page(TARGET.read_text()))
