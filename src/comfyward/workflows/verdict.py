"""The problems of a graph, in our words and in ComfyUI's. Pure.

(Source of codes, messages, details and `extra_info`: ComfyUI's execution.py, validate_prompt and validate_inputs.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from comfyward.errors import InvalidGraph
from comfyward.paths import model_path
from comfyward.workflows.catalog import INPUT_FOLDER, InputSpec
from comfyward.workflows.graph import Node
from comfyward.workflows.offer import CHECK_HINT, Offer

MAX_SHOWN = 20  # choices of an input: ComfyUI, too, describes no input that has more
OUTPUT_MARKS = ("[output]", "[temp]")  # of unresolved references: those that exist have been replaced by names


@dataclass(frozen=True)
class Problem:
    """A problem with a node, or with one of its inputs."""

    node: Node
    type: str  # ComfyUI's code, e.g. value_not_in_list
    message: str  # ComfyUI's, where it has one
    input_name: str | None = None
    received: Any = None
    accepted: Any = None
    folder: str | None = None
    place: str | None = None  # the path that a file of this name should have
    offers: tuple[Offer, ...] = ()  # what has a class that is missing
    because: str | None = None  # what the message leaves out, in our words
    details: str | None = None  # ComfyUI's, where they say more than the input's name
    more: Mapping[str, Any] = field(default_factory=dict)  # of ComfyUI's `extra_info`
    spec: InputSpec | None = None  # of the input
    count: int = 0  # of the accepted values of a list, of which `accepted` may hold the first only

    @property
    def said(self) -> str:
        return f"{self.message} ({self.because})" if self.because else self.message

    def as_comfyui(self) -> dict[str, Any]:
        """The problem as an entry of ComfyUI's `node_errors[...]["errors"]`."""
        extra = {
            "input_name": self.input_name,
            "input_config": self._config(),
            "received_value": None if self.type == "dependency_cycle" else self.received,
            **self.more,
        }
        return {
            "type": self.type,
            "message": self.message,
            "details": self._details(),
            "extra_info": {key: value for key, value in extra.items() if value is not None or self._is_of_list},
        }

    @property
    def _is_of_list(self) -> bool:
        return self.type == "value_not_in_list"

    def _details(self) -> str:
        if not self._is_of_list:
            return self.details or self.input_name or f"Node ID '#{self.node.id}'"
        accepted = self.accepted if self.count <= MAX_SHOWN else f"(list of length {self.count})"
        return f"{self.input_name}: {self.received!r} not in {accepted}"

    def _config(self) -> list[Any] | None:
        """The input as /object_info describes it: editors read its bounds. None if it has many choices."""
        if self.spec is None or max(self.count, len(self.spec.choices or ())) > MAX_SHOWN:
            return None
        return [self.spec.type, self.spec.options]

    def facts(self, name: str) -> dict[str, Any]:
        """The problem as data, from which each interface makes its own message. `name` is the node's display name."""
        return {
            "type": self.type,
            "message": self.said,
            "node_id": self.node.id,
            "node": name,
            "class_type": self.node.class_type,
            "input": self.input_name,
            "received": self.received,
            "accepted": self.accepted,
            "folder": self.folder,
            **({"packs": [offer.facts() for offer in self.offers]} if self.offers else {}),
        }

    def sentence(self) -> str:
        where = f"node {self.node.id} ({self.node.class_type})"
        return f"{self.said}: {where}" + (f", input '{self.input_name}'" if self.input_name else "")


@dataclass(frozen=True)
class Verdict:
    names: Mapping[str, str]  # display names by node id
    problems: list[Problem] = field(default_factory=list)
    dependents: Mapping[str, list[str]] = field(default_factory=dict)  # output nodes that need a node with problems

    def facts(self) -> list[dict[str, Any]]:
        """The facts of each problem."""
        return [problem.facts(self.names[problem.node.id]) for problem in self.problems]

    def node_errors(self) -> dict[str, Any]:
        """ComfyUI's `node_errors` object."""
        errors: dict[str, Any] = {}
        for problem in self.problems:
            node, outputs = problem.node, self.dependents.get(problem.node.id, [])
            entry = errors.setdefault(
                node.id, {"errors": [], "dependent_outputs": outputs, "class_type": node.class_type}
            )
            entry["errors"].append(problem.as_comfyui())
        return errors

    def raise_if_any(self) -> None:
        """Raises InvalidGraph if there are problems: it names the first one, its details hold all."""
        if not self.problems:
            return
        first, more = self.problems[0], len(self.problems) - 1
        message = first.sentence() + (f" (and {more} more)" if more else "") + "."
        raise InvalidGraph(
            message,
            hint=_hint(first),
            type=first.type,
            node_id=first.node.id,
            class_type=first.node.class_type,
            title=first.node.title,
            input=first.input_name,
            received=first.received,
            accepted=first.accepted,
            node_errors=self.node_errors(),
            problems=self.facts(),
        )


def _hint(problem: Problem) -> str:
    match problem.type:
        case "missing_node_type" if "did not load" in problem.message:
            return "The operator has to fix the pack: see the fleet page or 'comfyward comfyui show'."
        case "missing_node_type" if problem.offers and (command := problem.offers[0].command):
            return f"{CHECK_HINT} An admin can add the pack to an environment: {command}"
        case "missing_node_type" if problem.offers and problem.offers[0].comfyui:
            return f"It is one of ComfyUI's own: ask the operator for ComfyUI {problem.offers[0].comfyui}. {CHECK_HINT}"
        case "missing_node_type":
            return f"Use a class that GET /api/v1/nodes lists, or ask the operator for the custom node. {CHECK_HINT}"
        case "value_not_in_list" if str(problem.received).endswith(OUTPUT_MARKS):
            return "None of your runs has an output of this name. Use the name that the run's page shows."
        case "value_not_in_list" if problem.folder == INPUT_FOLDER:
            return f'Bring the file with the run: "files": {{"/input/{problem.received}": "https://…"}}.'
        case "value_not_in_list" if problem.folder is not None:
            path = problem.place or model_path(f"{problem.folder}/{problem.received}")
            return f'No worker has this model. Bring it with the run: "files": {{"{path}": "https://…"}}. {CHECK_HINT}'
        case "value_not_in_list":
            return f"Accepted: {', '.join(map(str, problem.accepted))}."
        case "required_input_missing":
            return f"Set '{problem.input_name}' to a value of {problem.accepted}."
        case "dependency_cycle":
            return f"These nodes depend on each other: {problem.received}. Remove one of the links."
        case "return_type_mismatch":
            return f"Link '{problem.input_name}' to an output of type {problem.accepted}."
        case _:
            return "Correct the input and submit again."
