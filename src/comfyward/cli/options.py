"""Options that several commands share, and how flags become settings."""

from __future__ import annotations

import collections
import datetime
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from comfyward.errors import SetupFailed
from comfyward.settings import Settings
from comfyward.store import db as databases
from comfyward.store.db import Database

LOG_FORMAT, LOG_TIME_FORMAT = "%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"
LOG_TAIL_LINES = 500

F = TypeVar("F", bound=Callable[..., Any])


def data_dir_option(command: F) -> F:
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where database, files and ComfyUI live.  [default: ~/.local/share/comfyward]",
    )(command)


def settings_from(**flags: Any) -> Settings:
    """Settings from flags (those that were given), environment and comfyward.toml. Raises SetupFailed."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SetupFailed(
            f"The setting '{name}' is not valid: {first['msg']}.", hint="See docs/configuration.md for every setting."
        ) from error


@contextmanager
def open_database(data_dir: Path | None) -> Iterator[Database]:
    """The installation's database, for commands that work beside a running server."""
    settings = settings_from(data_dir=data_dir)
    db = databases.open_database(settings.derived_database_url(), settings.database_connections)
    try:
        yield db
    finally:
        db.close()


def set_up_logging(level: str, form: str = "text") -> None:
    """`form` is text, for people, or json: an object a line with what the message is about."""
    logging.basicConfig(level=level.upper(), format=LOG_FORMAT, datefmt=LOG_TIME_FORMAT)
    if form == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(_Json())
    logging.getLogger("alembic").setLevel(logging.WARNING)


class _Json(logging.Formatter):
    """Everything that a message was given with `extra` stands beside it."""

    _own = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        values = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{key: value for key, value in record.__dict__.items() if key not in self._own and value is not None},
        }
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return json.dumps(values, default=str)


def keep_log_tail() -> Callable[[], str]:
    """Remembers the newest lines of this process's log from now on; the function returned gives them."""
    lines: collections.deque[str] = collections.deque(maxlen=LOG_TAIL_LINES)

    class Tail(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Tail()
    handler.setFormatter(logging.Formatter(LOG_FORMAT, LOG_TIME_FORMAT))
    logging.getLogger().addHandler(handler)
    return lambda: "\n".join(lines)
