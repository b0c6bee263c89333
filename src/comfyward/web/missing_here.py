"""The things that keep a workflow from running here: for its page, the editor's bar, and the cards of starters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from comfyward.dispatch.checks import NO_FILES, Checks
from comfyward.dispatch.wanted_packs import wanted_by
from comfyward.environments.wanted import Wanted
from comfyward.errors import ComfywardError, InvalidEnvironment
from comfyward.runs.files import Stored, Url
from comfyward.web.problems import Action, Advice, advices, editor_of
from comfyward.workflows.check import Check, LackedClass, LackedModel
from comfyward.workflows.needed import NeededInput, Where
from comfyward.workflows.workflow import Workflow

MAX_NAMED = 3
NOTHING_WANTED = Wanted()
ACTIVE_MODES = (0, None)  # modes of the editor's nodes; all others are muted or bypassed


@dataclass(frozen=True)
class Other:
    """A reason that is nothing missing, and the id of its node."""

    advices: tuple[Advice, ...]
    node_id: str | None = None


@dataclass(frozen=True)
class MissingHere:
    """The things that a workflow lacks, each once.

    Nothing is listed before a worker has told what is installed; until then it is not certain.
    """

    classes: tuple[LackedClass, ...] = ()
    models: tuple[LackedModel, ...] = ()
    inputs: tuple[NeededInput, ...] = ()
    others: tuple[Other, ...] = ()
    wanted: Wanted = NOTHING_WANTED
    bytes_to_come: int = 0
    unknown_sizes: int = 0
    is_certain: bool = True

    def __bool__(self) -> bool:
        return bool(self.classes or self.models or self.inputs or self.others)

    @property
    def can_be_got(self) -> bool:
        return bool(self.classes or self.models)

    @property
    def has_more_to_tell(self) -> bool:
        """True if somebody can be asked about it, or it is on its way."""
        return bool(self.classes) or any(model.source or model.import_id for model in self.models)

    @property
    def summary(self) -> str:
        """One line, without a full stop."""
        return "; ".join(self._sentences())

    def _sentences(self) -> Iterator[str]:
        if self.classes:
            yield f"{_listed([each.name for each in self.classes])} not installed"
        if self.models:
            yield _not_found([model.need.file_name for model in self.models], "models")
        if self.inputs:
            yield _not_found([each.name for each in self.inputs], "files")
        for other in self.others[:1]:
            yield _within_sentence(other.advices[0].sentence).removesuffix(".")


async def missing_here(
    checks: Checks,
    workflow: Workflow,
    brought: Mapping[str, Url | Stored] = NO_FILES,
    *,
    asks: bool = False,
    is_own: bool = True,
) -> MissingHere:
    """The things that a workflow lacks for its account. `asks`: the origins of models are asked, for some seconds.

    `brought` are files that come with it. `is_own`: it is a workflow that the account can change; advice on a run's
    graph, or on one that is not saved, leads neither to an editor nor to settings.
    """
    editor_graph = msgspec.json.decode(workflow.editor_graph or "null")
    if workflow.graph is None and _is_empty(editor_graph):
        return MissingHere()
    if workflow.graph is None and _are_all_off(editor_graph):
        return MissingHere(others=(Other((Advice("Every node is muted or bypassed.", editor_of(workflow.id)),)),))
    try:
        check = await checks.of_workflow(workflow, brought, asks=asks)
        return missing_by(check, workflow.id if is_own else None)
    except InvalidEnvironment as error:
        settings = Action("Choose another environment", f"/workflows/{workflow.id}/settings")
        return MissingHere(others=(Other((Advice(error.message, (settings,) if is_own else ()),)),))
    except ComfywardError as error:
        return MissingHere(others=(_other(error, None, workflow.id if is_own else None),))


def missing_by(check: Check, workflow_id: str | None) -> MissingHere:
    """The things that a check found, with a link to the editor if a workflow's id is given."""
    if not check.is_certain:
        return MissingHere(is_certain=False)
    others = (_other(each.error, each.where, workflow_id) for each in check.obstacles)
    return MissingHere(
        check.classes,
        check.models,
        check.inputs,
        tuple(others),
        wanted_by(check),
        check.bytes_to_come,
        check.unknown_sizes,
    )


def _other(error: ComfywardError, where: Where | None, workflow_id: str | None) -> Other:
    node_id = where.path if where is not None else error.details.get("node_id")
    return Other(tuple(advices(error, workflow_id)), None if node_id is None else str(node_id))


def _is_empty(editor_graph: Any) -> bool:
    return not (isinstance(editor_graph, dict) and editor_graph.get("nodes"))


def _are_all_off(editor_graph: Any) -> bool:
    return all(node.get("mode") not in ACTIVE_MODES for node in editor_graph["nodes"] if isinstance(node, dict))


def _not_found(names: list[str], many: str) -> str:
    return f"{names[0]} was not found" if len(names) == 1 else f"{len(names)} {many} were not found"


def _listed(names: Iterable[str]) -> str:
    first, *more = names
    if not more:
        return f"{first} is"
    shown = [first, *more[: MAX_NAMED - 1]]
    left = len(more) + 1 - len(shown)
    last = f"{left} more" if left else shown.pop()
    return f"{', '.join(shown)} and {last} are"


def _within_sentence(message: str) -> str:
    """A message as it continues a sentence; a name at its beginning keeps its capitals."""
    starts_plainly = message[:1].isupper() and message[1:2].islower() and message.split(" ")[0].isalpha()
    return message[0].lower() + message[1:] if starts_plainly else message
