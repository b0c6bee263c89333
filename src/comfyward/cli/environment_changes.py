"""The changes of a revision, as lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from comfyward.environments.difference import Change


def print_changes(changes: Sequence[Mapping[str, Any]]) -> None:
    """A line for each change."""
    for change in changes:
        click.echo(str(Change(**change)))
    if not changes:
        click.echo("No changes.")


def print_classes(found: Mapping[str, Any]) -> None:
    """A line for each node class and input that changes, and for each workflow that is concerned, where it is known."""
    if not found["knows_scripts"]:
        click.echo(f"The scripts of {found['after']} for the editor are known once a worker has tried it.")
    classes = found["classes"]
    if classes is None:
        if found["before"] is not None:
            click.echo("Its node classes are compared once workers have had both revisions ready.")
        return
    for sign, names in (("+", classes["gained"]), ("-", classes["lost"])):
        for name in names:
            click.echo(f"{sign} class {name}")
    for each in classes["inputs"]:
        click.echo(str(Change("input", f"{each['class_type']}.{each['input']}", each["before"], each["after"])))
    for workflow in found["workflows"]:
        named = f"Workflow '{workflow['name']}' of {workflow['owner']} ({workflow['id']})"
        if workflow["lost"]:
            click.echo(f"{named} uses what goes: {', '.join(workflow['lost'])}")
        if workflow["changed"]:
            click.echo(f"{named} uses what changes: {', '.join(workflow['changed'])}")
