"""A timeout bounds the execution; a node that does not listen does not keep the GPU."""

import pytest

from comfyward.worker import execute
from tests.stack.graphs import fake_save, fake_wait
from tests.stack.stack import Client


@pytest.mark.parametrize("class_type", ["FakeWait", "FakeDeaf"])
def test_a_run_over_its_timeout_ends(tenant: Client, class_type: str) -> None:
    seconds = execute.INTERRUPT_GRACE_S * 4

    run = tenant.run(fake_wait(seconds, class_type), timeout=0.5)

    assert (run["status"], run["end_reason"]) == ("ERROR", "timeout")
    assert "0.5 s" in run["error"]["message"]
    assert tenant.run(fake_save("next"))["status"] == "COMPLETED"
