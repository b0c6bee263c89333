"""The metrics name workers, packs and errors to admins and to the metrics token; strangers learn of pools at most."""

from tests import loopback
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save


def test_by_default(start_fake: StartFake) -> None:
    stack = start_fake().wait_ready()
    stack.client().run(fake_save())

    strangers = loopback.get(f"{stack.url}/metrics")
    member = stack.client("member").http.get("/metrics")
    admin = stack.client().http.get("/metrics")

    assert strangers.status_code == member.status_code == admin.status_code == 200
    assert 'comfyward_queue_length{pool="CPU"} 0.0' in strangers.text
    assert stack.worker_id in admin.text
    assert 'comfyward_environment_runs_ended_total{environment="default",reason="completed"} 1.0' in admin.text
    for text in (strangers.text, member.text):
        assert stack.worker_id not in text
        assert "comfyward_not_loaded{" not in text
        assert "comfyward_environment_" not in text


def test_with_a_token(start_fake: StartFake) -> None:
    stack = start_fake(metrics_token="for-prometheus").wait_ready()

    def status(key: str | None) -> int:
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        return loopback.get(f"{stack.url}/metrics", headers=headers).status_code

    assert status(None) == status("wrong") == status(stack.client("member").key) == 401
    assert status("for-prometheus") == status(stack.client().key) == 200
