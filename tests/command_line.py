"""The `comfyward` command, called in this process: a process of its own would mostly import."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from subprocess import CompletedProcess
from unittest.mock import patch

from comfyward.cli.main import main


def comfyward(*arguments: str, environment: Mapping[str, str], text: str = "") -> CompletedProcess[str]:
    """Output and exit status of a command, run in an environment with a text on its standard input."""
    with ThreadPoolExecutor(1) as thread:  # a test may have an event loop of its own in this one, as commands do
        return thread.submit(_call, arguments, environment, text).result()


def _call(arguments: tuple[str, ...], environment: Mapping[str, str], text: str) -> CompletedProcess[str]:
    streams = _stream(text), _stream(), _stream()
    patches = (
        patch.dict(os.environ, environment, clear=True),
        patch.multiple(sys, argv=["comfyward", *arguments], stdin=streams[0], stdout=streams[1], stderr=streams[2]),
    )
    with contextlib.ExitStack() as stack:
        for each in patches:
            stack.enter_context(each)
        code = _exit_code()
    out, err = (_written(stream) for stream in streams[1:])
    return CompletedProcess(arguments, code, out, err)


def _exit_code() -> int:
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _stream(text: str = "") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8", write_through=True)


def _written(stream: io.TextIOWrapper) -> str:
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()
