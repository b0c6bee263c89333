"""The command line says what its user can type, where the API speaks of fields of a request."""

from __future__ import annotations

from typing import Any

import pytest

from comfyward.cli.hints import hint_on, hint_on_run
from comfyward.client import ApiError, Run
from comfyward.runs.run import ENDINGS, EndReason
from tests.api_words import api_words_in


def refused(code: str, hint: str | None = 'Send "files" with POST /api/v1/files.', **details: Any) -> ApiError:
    return ApiError(400, {"code": code, "message": "No.", "hint": hint, "details": details})


def problem(folder: str | None, received: str) -> dict[str, Any]:
    return {"type": "value_not_in_list", "folder": folder, "received": received}


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (refused("invalid_graph", problems=[problem("input", "a b.png")]), "--file '/input/a b.png=PATH-OR-URL'"),
        (refused("invalid_graph", problems=[problem("loras", "x.ckpt")]), "--file '/models/loras/x.ckpt=https://…'"),
        (refused("invalid_graph", type="missing_node_type", problems=[{}]), "ask the operator to install it"),
        (refused("unauthenticated"), "--key"),
        (refused("invalid_graph", "Accepted: euler, ddim.", problems=[problem(None, "x")]), "Accepted: euler, ddim."),
    ],
)
def test_a_refusal(error: ApiError, hint: str) -> None:
    found = hint_on(error)

    assert found is not None
    assert hint in found
    assert '"files"' not in found


@pytest.mark.parametrize("reason", [reason for reason in EndReason if reason is not EndReason.COMPLETED])
def test_every_way_to_fail(reason: EndReason) -> None:
    run = Run({"id": "r1", "end_reason": reason, "error": {"hint": ENDINGS[reason].hint}})

    hint = (hint_on_run(run) or "").replace("--json", "")

    assert api_words_in(hint) == []
    assert "{" not in hint
