"""A long wait is shown when it begins, where there is no terminal for a spinner too."""

from __future__ import annotations

import io

from rich.console import Console

from comfyward.cli.steps import waiting


def test_a_line_is_there_before_the_wait_is_over() -> None:
    piped = io.StringIO()

    with waiting(Console(file=piped), "Starting ComfyUI"):
        assert piped.getvalue() == "Starting ComfyUI ...\n"

    assert piped.getvalue() == "Starting ComfyUI ...\n"
