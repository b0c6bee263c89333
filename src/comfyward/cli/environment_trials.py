"""comfyward environments try, promote, unmark, rollback: a revision becomes current once workers have tried it."""

from __future__ import annotations

import time
from typing import Any

import click

from comfyward.cli.environment_options import Where, place_options
from comfyward.cli.environment_place import Place
from comfyward.cli.steps import showing_steps
from comfyward.environments.reference import Reference
from comfyward.errors import Conflict
from comfyward.store.rehearsals import GOOD, UNFINISHED
from comfyward.store.trials import FAILED, READY
from comfyward.wording import plural

POLL_S = 1.0
NOBODY = (
    "Start one, or wait for one with --wait. Workers of earlier versions, or of another platform or Python, cannot "
    "try it."
)


@click.command("try")
@click.argument("reference", metavar="NAME[@REVISION]")
@click.option(
    "--wait/--no-wait",
    default=None,
    help="Wait for a worker too if none is there, or for none.  [default: wait until every present one has tried it]",
)
@place_options
def try_command(reference: str, wait: bool | None, where: Where) -> None:
    """Have all workers build and try a revision: start it, import its packs, make a picture, repeat marked workflows.

    It is the newest, which is locked first if anything was changed since. Runs go on meanwhile, and none uses it yet.

    \b
    comfyward environments try portraits
    comfyward environments promote portraits
    """
    asked = Reference.parse(reference)
    with where.opened() as place:
        tried = place.ask_to_try(asked)
        if wait is False:
            return click.echo(f"Workers will try {tried}: 'comfyward environments show {tried.name}' tells how far.")
        hosts, rehearsals = _waited_for(place, tried, waits_for_workers=wait is True)
    for host in hosts:
        click.echo(f"{host['host']} ({host['worker']}): {host['state']}{why(host)}")
    for each in rehearsals:
        click.echo(f"Workflow '{each['name']}' of {each['owner']}: {each['state']}{why(each)}")
    failed = [host for host in hosts if host["state"] == FAILED]
    if failed:
        raise Conflict(
            f"{tried} failed on {plural(len(failed), 'worker')} of {len(hosts)}.", hint=failed[0]["hint"] or None
        )
    if other := [each for each in rehearsals if each["state"] not in GOOD]:
        raise Conflict(f"{plural(len(other), 'workflow')} of {len(rehearsals)} did not give in {tried} what it gave.")
    return click.echo(f"{tried} is ready: 'comfyward environments promote {tried}' makes it current.")


@click.command("promote")
@click.argument("reference", metavar="NAME[@REVISION]")
@click.option("--without-trial", is_flag=True, help="For a machine without workers that could try it.")
@place_options
def promote(reference: str, without_trial: bool, where: Where) -> None:
    """Make a revision current: runs that are submitted from now on get it. Queued and running ones keep theirs.

    \b
    comfyward environments promote portraits
    comfyward environments promote portraits@3 --without-trial
    """
    with where.opened() as place:
        said, warnings = place.promote(Reference.parse(reference), without_trial=without_trial)
    click.echo(said)
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


@click.command("unmark")
@click.argument("name")
@click.argument("workflow")
@place_options
def unmark(name: str, workflow: str, where: Where) -> None:
    """Take a workflow, of any account, out of an environment's trials: it holds up no promotion any more.

    'show' lists them with their owners, who can mark them again.

    \b
    comfyward environments unmark portraits WORKFLOW
    """
    with where.opened() as place:
        place.unmark(name, workflow)
    click.echo(f"{workflow} is not part of the trials of {name} any more.")


@click.command("rollback")
@click.argument("name")
@place_options
def rollback(name: str, where: Where) -> None:
    """Make the revision current that was so before. Queued and running runs keep theirs.

    \b
    comfyward environments rollback portraits
    """
    with where.opened() as place:
        current = place.roll_back(name)
    click.echo(f"{current} is current again.")


def why(host: dict[str, Any]) -> str:
    """The end of a line that tells the state of a revision at a host."""
    return f": {host['message']}" if host["message"] else ""


def _waited_for(
    place: Place, tried: Reference, *, waits_for_workers: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(the states of a revision at present workers, once each has tried it; its rehearsals, once they have ended).

    Raises Conflict if there is no worker, and none is waited for.
    """
    with showing_steps(f"Trying {tried}") as show:
        while True:
            revisions = {each["number"]: each for each in place.shown(tried.name)["revisions"]}
            hosts = [host for host in revisions[tried.number]["hosts"] if host["is_present"]]
            if not revisions[tried.number].get("can_be_tried", True):  # servers of earlier versions do not tell
                if not waits_for_workers:
                    raise Conflict(_nobody(tried, revisions[tried.number]), hint=NOBODY)
                show(f"Waiting for a worker: {_nobody(tried, revisions[tried.number])}", None)
            rehearsals = revisions[tried.number]["rehearsals"]
            busy = next((host for host in hosts if host["state"] not in (READY, FAILED)), None)
            if hosts and busy is None:
                left = [each for each in rehearsals if each["state"] in UNFINISHED]
                if not left or all(host["state"] == FAILED for host in hosts):
                    return hosts, [each for each in rehearsals if each not in left]
                show(f"Repeating the last good run of '{left[0]['name']}'", 1 - len(left) / len(rehearsals))
            if busy is not None:
                show(busy["step"] or busy["state"].capitalize(), busy["part"])
            time.sleep(POLL_S)


def _nobody(tried: Reference, revision: dict[str, Any]) -> str:
    """The sentence on a revision that no present worker can try."""
    absent = revision["absent_pools"]
    pools = f"No worker of {'pool' if len(absent) == 1 else 'pools'} {', '.join(absent)} is there. " if absent else ""
    targets = ", ".join(revision["targets"])
    return f"{pools}No present worker builds environments for {targets}, which {tried} is locked for."
