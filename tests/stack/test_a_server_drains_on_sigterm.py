"""SIGTERM: running work is finished, queued work waits for the next start, the process ends with 0."""

import threading

from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, fake_wait


def test_a_server_drains_on_sigterm(start_fake: StartFake) -> None:
    stack = start_fake().wait_ready()
    client = stack.client()
    running = client.submit(fake_wait(1.5))
    client.wait_for(running, "progress")
    ahead, queued = client.submit(fake_save("ahead")), client.submit(fake_save("queued"))
    follower = threading.Thread(target=lambda: list(client.events(queued)))  # an open stream must not hold the exit
    follower.start()

    assert stack.stop() == 0
    follower.join(60)
    assert not follower.is_alive()

    stack.start()
    run = client.get(running)
    assert (run["status"], run["retry_count"]) == ("COMPLETED", 0)
    for run_id in (ahead, queued):
        run = client.finish(run_id)
        assert (run["status"], run["retry_count"]) == ("COMPLETED", 0)
