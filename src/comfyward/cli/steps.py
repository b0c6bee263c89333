"""Shows the steps of a long command: a bar on a terminal, a line for each step elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn


@contextmanager
def waiting(console: Console, what: str) -> Iterator[None]:
    """Shows what is waited for: a spinner on a terminal, a line elsewhere."""
    if not console.is_terminal:
        console.print(f"{what} ...")
    with console.status(what):
        yield


@contextmanager
def showing_steps(title: str, *, stays: bool = False) -> Iterator[Callable[[str, float | None], None]]:
    """Yields a function that shows a step and the fraction of it that is done, None if it is unknown.

    On a terminal, the bar `stays` or disappears at the end.
    """
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    shown = ""
    with Progress(*columns, console=console, transient=not stays) as bar:
        task = bar.add_task(title, total=None)

        def show(step: str, fraction: float | None) -> None:
            nonlocal shown
            bar.update(task, description=step, total=None if fraction is None else 1.0, completed=fraction or 0.0)
            if not console.is_terminal and step != shown:
                console.print(step)
            shown = step

        yield show
