"""Groups of commands."""

from __future__ import annotations

import click

WHOLE = 1000  # characters: longer than any first sentence


class Group(click.Group):
    """Lists its commands with the whole first sentence of each, where click cuts it at the end of a line."""

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [(name, self.get_command(context, name)) for name in self.list_commands(context)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(WHOLE)) for name, each in commands if each])
