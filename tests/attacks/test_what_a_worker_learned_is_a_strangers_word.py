"""Workers tell which files packs fetch: only the one that was asked, for all pools, and only what a spec may have."""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.environment_lab import Lab
from tests.attacks.raw_worker import RawWorker
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack

SHA256 = "a" * 64
SOUND = {"path": "models/faces/a.onnx", "url": "https://example.com/a.onnx", "sha256": SHA256, "size": 5}


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none")


@pytest.fixture
def lab(stack: Stack) -> Lab:
    return Lab(stack)


def claim(worker: RawWorker, digest: str) -> Any:
    return worker.call("POST", f"environments/{digest}/learning", content=b"")


def learned(worker: RawWorker, digest: str, key: str, *files: dict[str, Any], **more: Any) -> Any:
    return worker.call("PUT", f"environments/{digest}/learned", json={"id": key, "files": list(files), **more})


def shown(lab: Lab) -> dict[str, Any]:
    return dict(lab.client.http.get(f"/api/v1/environments/{lab.name}/learn").json())


def accept(lab: Lab, **body: Any) -> Any:
    return lab.client.http.post(f"/api/v1/environments/{lab.name}/learn/accept", json=body)


def spec_of(lab: Lab) -> str:
    return str(lab.client.http.get(f"/api/v1/environments/{lab.name}/export?form=spec").text)


def test_only_the_worker_that_has_it_tells_of_it(lab: Lab) -> None:
    digest = lab.revision("1")
    asked, other, of_one_pool = lab.worker(), lab.worker(), lab.worker(of=lab.name)
    assert claim(asked, digest).status_code == 404
    begun = lab.post("learn").json()

    assert claim(of_one_pool, digest).status_code == 403
    order = claim(asked, digest).json()
    assert (order["id"], "huggingface.co" in order["hosts"]) == (begun["id"], True)
    assert claim(other, digest).status_code == 404
    assert learned(other, digest, begun["id"], SOUND).status_code == 404
    assert learned(of_one_pool, digest, begun["id"], SOUND).status_code == 403
    assert shown(lab)["files"] == []
    assert accept(lab).status_code == 409
    assert learned(asked, digest, begun["id"], SOUND).status_code == 204
    assert learned(asked, digest, begun["id"]).status_code == 404  # it is over
    assert shown(lab)["files"] == [SOUND]


def test_what_no_spec_may_have_is_passed_over(lab: Lab) -> None:
    digest, worker = lab.revision("1"), lab.worker()
    begun = lab.post("learn").json()
    claim(worker, digest)
    bad = [
        {"path": "../../etc/passwd"},
        {"path": "models/../../etc/passwd"},
        {"path": "packs/outside"},
        {"path": "models/a\u001b[31m/b"},
        {"path": "models/b/c", "url": "file:///etc/passwd"},
        {"path": "models/c/d", "url": "https://me:secret@example.com/x"},
        {"path": "models/d/e", "sha256": "x"},
        {"path": "models/e/f", "sha256": ""},
    ]
    unknown = {**SOUND, "path": "models/faces/unknown.onnx", "url": ""}

    files = [SOUND, unknown, *({**SOUND, **each} for each in bad)]
    told = learned(worker, digest, begun["id"], *files, refused=["evil\nline"], message="\u001b[31mred")
    assert told.status_code == 204

    found = shown(lab)
    assert [each["path"] for each in found["files"]] == [SOUND["path"], unknown["path"]]
    assert (found["refused"], found["message"]) == (["evil line"], "red")
    assert "It is not known where" in accept(lab, paths=[unknown["path"]]).json()["message"]
    assert "found no file" in accept(lab, paths=["models/x/y"]).json()["message"]
    assert "[[file]]" not in spec_of(lab)
    assert accept(lab).status_code == 200
    spec = spec_of(lab)
    assert spec.count("[[file]]") == 1
    assert f'sha256 = "{SHA256}"' in spec


def test_after_a_cancel_nothing_is_taken(lab: Lab) -> None:
    digest, worker = lab.revision("1"), lab.worker()
    begun = lab.post("learn").json()
    claim(worker, digest)
    path = f"/api/v1/environments/{lab.name}/learn"
    assert lab.client.http.delete(path).status_code == 204

    assert learned(worker, digest, begun["id"], SOUND).status_code == 404
    assert (shown(lab)["state"], shown(lab)["files"]) == ("cancelled", [])
