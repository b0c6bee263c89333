"""Shared options, settings from flags, and logging."""

from __future__ import annotations

import collections
import datetime
import json
import logging
import math
import os
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import ValidationError
from pydantic_settings import SettingsError

from comfyward.errors import SetupFailed
from comfyward.settings import TOML_FILE, Settings
from comfyward.wording import closest, did_you_mean

LOG_FORMAT, LOG_TIME_FORMAT = "%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"
LOG_TAIL_LINES = 500
MOST = 1e12  # of any number that is typed: all of them fit into the database's columns
MAX_NAME = 200  # characters, as on the website
PREFIX = "COMFYWARD_"
# Variables that commands read in addition to the settings.
OTHER_VARIABLES = {
    *("API_KEY", "API_KEY_FILE", "FLEET_SUPERVISED", "FLEET_TOKEN", "FLEET_TOKEN_FILE", "URL", "WORKER_DEVICE"),
    *("WORKER_PULSE", "WORKER_SESSION", "WORKER_TOKEN", "WORKER_TOKEN_FILE"),
}
TYPO_SIMILARITY = 0.8  # a less similar variable with our prefix may be another program's

F = TypeVar("F", bound=Callable[..., Any])


def data_dir_option(command: F) -> F:
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of the database, files and ComfyUI.  [default: ~/.local/share/comfyward]",
    )(command)


class Name(click.ParamType[str]):
    """A new name, which people can read and type again."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        given = value.strip()
        if not 1 <= len(given) <= MAX_NAME or any(unicodedata.category(each) == "Cc" for each in given):
            self.fail(f"A name has 1 to {MAX_NAME} characters, on one line.", param, ctx)
        return given


def has_scheme(address: str) -> bool:
    """True for the URL of a server, False for a host and port alone."""
    return address.lower().startswith(("http://", "https://"))


class Address(click.ParamType[str]):
    """The URL of a server."""

    name = "url"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not has_scheme(value):
            self.fail(f"The address {value} has no http:// or https://.", param, ctx)
        return value


class Number(click.FloatRange):
    """A number between two others, none of which is infinite; `nan` is none."""

    name = "number"

    def __init__(self, least: float, most: float = MOST, *, least_open: bool = False) -> None:
        super().__init__(least, most, min_open=least_open)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a valid {self.name}.", param, ctx)
        return number


class Whole(click.IntRange):
    """A whole number in a range."""

    name = "whole number"


class Choice(click.Choice[str]):
    """A choice that ignores case and suggests the closest word for an unknown one."""

    def __init__(self, words: Iterable[str]) -> None:
        super().__init__(list(words), case_sensitive=False)

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:
        message = super().get_invalid_choice_message(value, ctx)
        hint = did_you_mean(str(value), self.choices)
        return f"{message} {hint}" if hint else message


def settings_from(**flags: Any) -> Settings:
    """Settings from flags (except those that are None), environment and comfyward.toml. Raises SetupFailed."""
    for name, meant in mistyped(os.environ):
        click.secho(f"Warning: there is no setting {name}. Did you mean {meant}?", fg="yellow", err=True)
    for key in unknown_keys():
        hint = did_you_mean(key, Settings.model_fields)
        click.secho(f"Warning: there is no setting '{key}' ({TOML_FILE}). {hint or ''}".rstrip(), fg="yellow", err=True)
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SetupFailed(f"The setting '{name}' is not valid: {first['msg']}.", hint=_about(first["loc"])) from error
    except SettingsError as error:
        name = next((name for name in Settings.model_fields if f'"{name}"' in str(error)), "")
        reason = f"{error.__cause__}." if error.__cause__ else ""
        raise SetupFailed(f"The setting '{name}' is not valid JSON. {reason}".rstrip(), hint=_about((name,))) from error


def _about(place: tuple[int | str, ...]) -> str:
    """A hint: the meaning of the setting at a place of the settings, and where all of them are described."""
    field = Settings.model_fields.get(str(place[0])) if place else None
    what = f"{PREFIX}{str(place[0]).upper()}: {field.description} " if field and field.description else ""
    return f"{what}See docs/configuration.md for every setting."


def unknown_keys() -> list[str]:
    """The keys of the settings' file that are no settings. Raises SetupFailed for a file that is no TOML."""
    try:
        keys = tomllib.loads(Path(TOML_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupFailed(
            f"{TOML_FILE} cannot be read: {error}.",
            hint="It has a line for each setting, such as port = 80.",
        ) from error
    return sorted(keys.keys() - Settings.model_fields.keys())


def mistyped(environment: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(variable, setting's variable) for each unknown variable that resembles a setting's."""
    known = {name.upper() for name in Settings.model_fields}
    for variable in sorted(environment):
        name = variable.removeprefix(PREFIX)
        is_ours = variable.startswith(PREFIX) and name not in known | OTHER_VARIABLES
        if is_ours and (meant := closest(name, known, TYPO_SIMILARITY)):
            yield variable, PREFIX + meant


def set_up_logging(level: str, form: str = "text") -> None:
    """Logs to standard error. `form` is "text", or "json" for one object a line."""
    logging.basicConfig(level=level.upper(), format=LOG_FORMAT, datefmt=LOG_TIME_FORMAT)
    if form == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(_Json())
    logging.getLogger("alembic").setLevel(logging.WARNING)


class _Json(logging.Formatter):
    """A message as a JSON object, with the fields of `extra`."""

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


def capture_log_tail() -> Callable[[], str]:
    """Captures this process's log from now on; the returned function gives its newest LOG_TAIL_LINES lines."""
    lines: collections.deque[str] = collections.deque(maxlen=LOG_TAIL_LINES)

    class Tail(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Tail()
    handler.setFormatter(logging.Formatter(LOG_FORMAT, LOG_TIME_FORMAT))
    logging.getLogger().addHandler(handler)
    return lambda: "\n".join(lines)
