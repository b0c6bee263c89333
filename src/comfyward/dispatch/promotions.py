"""Promotion: a revision becomes current once workers have tried it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from sqlalchemy import Connection

from comfyward.environments.reference import Reference
from comfyward.errors import Conflict, NotFound
from comfyward.store import environments, rehearsals, trials, workers
from comfyward.store.rehearsals import GOOD, RUNNING, Marked, Rehearsal
from comfyward.store.trials import FAILED, READY, Shown
from comfyward.store.workers import Crew, CrewMember

POOLS_KNOWN_MS = 7 * 24 * 3600 * 1000  # a pool without workers for longer has no say


def promote(conn: Connection, reference: Reference, now: int, *, needs_trial: bool = True) -> int:
    """Makes a revision current, the newest one if no number is given. Returns its number.

    Raises NotFound, and Conflict if it was not tried with success for each target that it is locked for, or if a
    workflow that is part of its trial was not repeated in it with success.
    """
    number = number_of(conn, reference)
    digests = digests_of(conn, reference.name, number)
    if needs_trial:
        after = now - workers.PRESENT_MS
        crews = workers.crews(conn, digests, after, now - POOLS_KNOWN_MS)
        present = [each for each in trials.of(conn, digests.values(), after) if each.is_present]
        check_is_ready(conn, Reference(reference.name, number), digests, crews, present)
    environments.make_current(conn, reference.name, number, now)
    return number


def warnings(conn: Connection, reference: Reference, now: int) -> list[str]:
    """A sentence for each pool none of whose present workers can have a revision, by their target or their trials."""
    number = number_of(conn, reference)
    digests, after = digests_of(conn, reference.name, number), now - workers.PRESENT_MS
    said = [each for each in trials.of(conn, digests.values(), after) if each.is_present]
    return [
        f"No worker of pool {pool} can have {reference.name}@{number}: {why}"
        for pool, targets in sorted(workers.targets(conn, after).items())
        if (why := _why_not(digests, targets, [each for each in said if each.pool == pool])) is not None
    ]


def _why_not(digests: Mapping[str, str], targets: Mapping[str, int], said: Collection[Shown]) -> str | None:
    """The reason why no worker of a pool can have a revision; None if one can."""
    able = sum(count for target, count in targets.items() if target in digests)
    failed = [each.trial for each in said if each.trial.state == FAILED and each.trial.target in targets]
    if not able:
        return f"it is locked for {', '.join(sorted(digests))}."
    return None if len(failed) < able else f"it failed there. {failed[0].message}".strip()


def ask_to_try(conn: Connection, reference: Reference, now: int) -> int:
    """Asks workers to build and try a revision, the newest by default. Returns its number. Raises NotFound."""
    number = number_of(conn, reference)
    environments.ask_to_try(conn, reference.name, number, now)
    rehearsals.forget(conn, reference.name, number)
    if environments.get(conn, reference.name).auto_promote:
        environments.promote_when_ready(conn, reference.name, number)
    return number


def try_and_promote(conn: Connection, revision: Reference, now: int) -> None:
    """Asks workers to try a revision, which becomes current once they have it ready. Raises NotFound."""
    number = ask_to_try(conn, revision, now)
    environments.promote_when_ready(conn, revision.name, number)


def check_is_ready(
    conn: Connection,
    revision: Reference,
    digests: Mapping[str, str],
    crews: Mapping[str, Crew],
    present: Collection[Shown],
) -> None:
    """Raises Conflict, naming what is missing, unless a revision was tried with success, and what is part of its trial.

    `crews` and `present` are those of all of its targets.
    """
    assert revision.number is not None
    check_trials(str(revision), digests, crews, present)
    if missing := _unrehearsed(conn, revision.name, revision.number):
        hint = f"Run 'comfyward environments try {revision}', or promote it without a trial."
        raise Conflict(f"{revision} is not ready. {' '.join(missing)}", hint=hint)


def _unrehearsed(conn: Connection, name: str, number: int) -> list[str]:
    """A sentence for each workflow that is part of a revision's trial and was not repeated in it with success.

    Nothing for a revision that is or was current: going back must always be possible. Raises NotFound.
    """
    if number in environments.was_current(environments.get(conn, name)):
        return []
    found = {each.workflow_id: each for each, _, _ in rehearsals.of(conn, name).get(number, ())}
    return [
        sentence
        for marked in rehearsals.marked(conn, name)
        if (sentence := _why_unrehearsed(marked, found.get(marked.workflow_id)))
    ]


def _why_unrehearsed(marked: Marked, rehearsal: Rehearsal | None) -> str:
    workflow = f"The workflow '{marked.name}' of {marked.owner}"
    if rehearsal is None or rehearsal.state == RUNNING:
        return f"{workflow} has not been repeated in it yet."
    return "" if rehearsal.state in GOOD else f"{workflow} gave something else: {rehearsal.message}"


def promote_if_clean(conn: Connection, reference: Reference, now: int) -> bool:
    """Makes a revision current if it may be, and is ready on every present worker that counts. Raises NotFound."""
    assert reference.number is not None
    digests, after = digests_of(conn, reference.name, reference.number), now - workers.PRESENT_MS
    present = workers.crew_members(conn, after)
    ready = {(each.worker_id, each.digest) for each in trials.present(conn, after) if each.state == READY}
    if not is_clean(digests, present, ready):
        return False
    try:
        promote(conn, reference, now)
    except Conflict:
        return False
    return True


def is_clean(digests: Mapping[str, str], present: Collection[CrewMember], ready: Collection[tuple[str, str]]) -> bool:
    """True if every present worker that counts has its target's digest ready; `ready` are (worker, digest).

    Where the operator's own workers are present, only these count, as in `check_trials`.
    """
    own = {each.target for each in present if each.is_operators}
    counted = [each for each in present if each.target in digests and each.is_operators is (each.target in own)]
    return bool(counted) and all((each.id, digests[each.target]) in ready for each in counted)


def check_trials(name: str, digests: Mapping[str, str], crews: Mapping[str, Crew], present: Collection[Shown]) -> None:
    """Raises Conflict, naming what is missing, unless a trial was good on a present worker of each of its targets.

    Where the operator's own workers are present, for any pool or of a fleet, only their trials count. Elsewhere, each
    pool that has had workers of the target needs one, since a token for one pool decides nothing for others.
    """
    if not any(crews[target].is_present for target in digests):
        raise Conflict(
            f"{name} is not ready. No worker that could try it is present: it is locked for {', '.join(digests)}.",
            hint="Start a worker, or promote it without a trial if there is none.",
        )
    missing = list(_missing(digests, crews, present))
    if missing:
        hint = f"Run 'comfyward environments try {name}', and look at 'comfyward environments show'."
        raise Conflict(f"{name} is not ready. {' '.join(missing)}", hint=hint)


def number_of(conn: Connection, reference: Reference) -> int:
    """The number of a revision, the newest if none is given. Raises NotFound."""
    number = reference.number or environments.get(conn, reference.name).newest
    if not number:
        hint = "'comfyward environments lock' makes one."
        raise NotFound(f"'{reference.name}' has no revision yet.", hint=hint)
    return number


def numbered(conn: Connection, reference: Reference) -> Reference:
    """A revision with its number, the newest if none is given. Raises NotFound if there is none."""
    return reference if reference.number is not None else Reference(reference.name, number_of(conn, reference))


def digests_of(conn: Connection, name: str, number: int) -> Mapping[str, str]:
    """The digests of a revision by target. Raises NotFound."""
    found = next((each for each in environments.revisions(conn, name) if each.number == number), None)
    if found is None:
        raise environments.no_revision(name, number)
    return found.digests


def _missing(digests: Mapping[str, str], crews: Mapping[str, Crew], present: Collection[Shown]) -> Iterator[str]:
    """A sentence for each target, or pool of it, that has no good trial."""
    for target, digest in sorted(digests.items()):
        crew = crews[target]
        here = [each for each in present if (each.trial.digest, each.trial.target) == (digest, target)]
        if crew.is_operators or not crew.is_present:
            own = [each for each in here if each.is_operators]
            yield from _unless_good(f"No worker of {target} has tried it.", own)
            continue
        for pool in sorted(crew.pools):
            of_pool = [each for each in here if each.pool == pool]
            yield from _unless_good(f"No worker of {target} in pool {pool} has tried it.", of_pool)


def _unless_good(nobody: str, shown: Collection[Shown]) -> Iterator[str]:
    if not any(each.trial.state == READY for each in shown):
        yield _most_telling(nobody, shown)


def _most_telling(nobody: str, shown: Collection[Shown]) -> str:
    states = {each.trial.state: each.trial for each in shown}
    if failed := states.get(FAILED):
        return f"On {failed.host} its trial failed: {failed.message or 'no reason was given.'}"
    if states:
        one = next(iter(states.values()))
        return f"{one.host} is {one.state} it."
    return nobody
