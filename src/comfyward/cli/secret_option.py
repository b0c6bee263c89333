"""An option for a secret, read from a file or the environment: a command line is visible to all users of a machine."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from comfyward.errors import SetupFailed

F = TypeVar("F", bound=Callable[..., Any])

MAX_BYTES = 4096
MOUNTED = Path("/run/secrets")  # Docker gives its secrets to all users of a container


def secret_option(name: str, variable: str, about: str, *, required: bool = False) -> Callable[[F], F]:
    """Adds --NAME and --NAME-file, which can be set by `variable` and `variable`_FILE; the command gets the secret.

    What is typed counts before what the environment has.
    """
    key = f"{__name__}.{name}"

    def remember(context: click.Context, _: click.Parameter, path: Path | None) -> None:
        context.meta[key] = path, _is_typed(context, f"{name}_file")

    def secret(context: click.Context, option: click.Parameter, given: str | None) -> str | None:
        path, is_path_typed = context.meta[key]
        is_typed = _is_typed(context, name)
        if given and path and is_typed == is_path_typed:
            raise click.UsageError(f"Give --{name} or --{name}-file, or one of their variables, not both.", context)
        if path is not None and (is_path_typed or not given):
            return read_secret(path)
        if required and not given:
            raise click.MissingParameter(ctx=context, param=option, message=f"Or give --{name}-file.")
        return given

    def decorate(command: F) -> F:
        from_file = click.option(
            f"--{name}-file",
            envvar=f"{variable}_FILE",
            type=click.Path(path_type=Path, dir_okay=False),
            is_eager=True,
            expose_value=False,
            callback=remember,
            help=f"A file that holds only this secret.  [env: {variable}_FILE]",
        )
        itself = click.option(f"--{name}", envvar=variable, callback=secret, help=f"{about}  [env: {variable}]")
        return itself(from_file(command))

    return decorate


def _is_typed(context: click.Context, option: str) -> bool:
    return context.get_parameter_source(option) is ParameterSource.COMMANDLINE


def read_secret(path: Path) -> str:
    """The secret in a file, without blanks around it. Warns if every user can read it. Raises SetupFailed."""
    hint = "The file must hold the secret alone, and be readable by this user."
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
            mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise SetupFailed(f"The file {path} cannot be read: {error.strerror}.", hint=hint) from error
    words = data.split()
    if len(words) != 1 or len(data) > MAX_BYTES or not words[0].isascii():
        raise SetupFailed(f"The file {path} does not hold one secret.", hint=hint)
    if mode & stat.S_IROTH and MOUNTED not in path.parents:
        warning = f"Warning: every user of this machine can read {path}: run 'chmod 600' on it."
        click.secho(warning, fg="yellow", err=True)
    return words[0].decode("ascii")
