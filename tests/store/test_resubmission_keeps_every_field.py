"""A run again, whoever asks for it: all that its caller asked for is asked for again, but for what is changed."""

from __future__ import annotations

import dataclasses

import msgspec

from comfyward.dispatch.intake import Submission
from comfyward.runs.files import Stored, Url, source_to_row
from comfyward.store import runs
from tests.store.conftest import Store

DIGEST = "ab" * 32
OF_ONE_REQUEST = {"idempotency_key", "key_is_single_use", "submitted_via", "client_id", "prompt_id"}


def asked_for(workflow_id: str) -> Submission:
    """A submission that leaves nothing to a default, but for what is of one request."""
    return Submission(
        workflow_id=workflow_id,
        prompt={"1": {"class_type": "Save", "inputs": {}}},
        files={
            "/input/a.png": Stored(DIGEST, 7),
            "/models/loras/style.safetensors": Url("https://host.example/style", DIGEST, (("Authorization", "me"),)),
        },
        accelerator="GPU",
        webhook="https://host.example/hook",
        extra_data={"extra_pnginfo": {"workflow": {"nodes": []}}},
        priority=7,
        timeout_s=90.0,
        start_within_s=600.0,
        tags=("sea", "night"),
        labels={"customer": "7"},
        environment="portraits@7",
    )


def made(store: Store, submission: Submission) -> runs.Run:
    now = 1_000_000
    store.new_run(
        "r",
        workflow_id=submission.workflow_id,
        prompt=msgspec.json.encode(submission.prompt).decode(),
        files={path: source_to_row(source) for path, source in submission.files.items()},
        accelerator=submission.accelerator,
        webhook=submission.webhook,
        extra_data=msgspec.json.encode(submission.extra_data).decode(),
        priority=submission.priority,
        timeout_s=submission.timeout_s,
        created_at=now,
        start_by=now + 600_000,
        tags=list(submission.tags),
        labels=submission.labels,
        environment_name=submission.environment,
    )
    run: runs.Run = store.read(runs.get, store.alice.id, "r")
    return run


def test_again_asks_for_all_that_was_asked_for(store: Store) -> None:
    submission, defaults = asked_for(store.default_workflow(store.alice)), Submission("", None)
    left = {each.name for each in dataclasses.fields(defaults) if _same(each.name, submission, defaults)}
    assert left == OF_ONE_REQUEST, "a new field of a submission belongs into this test"

    assert Submission.again(made(store, submission)) == submission


def test_again_with_changes_asks_for_the_rest_as_before(store: Store) -> None:
    submission = asked_for(store.default_workflow(store.alice))

    changed = Submission.again(made(store, submission), accelerator="H100", idempotency_key="press")

    assert changed == dataclasses.replace(submission, accelerator="H100", idempotency_key="press")


def _same(name: str, one: Submission, other: Submission) -> bool:
    return bool(getattr(one, name) == getattr(other, name))
