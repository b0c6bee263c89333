"""The options of commands that say where environments are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from comfyward.cli.environment_folder import opened_folder
from comfyward.cli.environment_place import Place
from comfyward.cli.environment_server import opened_server
from comfyward.cli.options import data_dir_option
from comfyward.cli.secret_option import secret_option

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Where:
    """The options that name a place."""

    data_dir: Path | None
    url: str | None
    key: str | None

    @contextmanager
    def opened(self) -> Iterator[Place]:
        """The place, until the end of the block."""
        if self.url is None:
            with opened_folder(self.data_dir) as folder:
                yield folder
            return
        if self.data_dir is not None:
            raise click.UsageError("--url and --data-dir name two places: pass one of them.")
        with opened_server(self.url, self.key) as server:
            yield server


def place_options(command: F) -> F:
    """Adds --data-dir, and --url, --key and --key-file for a server; the command takes them as `where`."""

    @functools.wraps(command)
    def with_place(*, data_dir: Path | None, url: str | None, key: str | None, **given: Any) -> Any:
        return command(where=Where(data_dir, url, key), **given)

    url_option = click.option("--url", help="A server's address, in place of the data directory. Needs an admin's key.")
    key_option = secret_option("key", "COMFYWARD_API_KEY", "An API key.")
    return data_dir_option(url_option(key_option(with_place)))  # type: ignore[return-value]
