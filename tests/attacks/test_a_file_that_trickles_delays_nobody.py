"""A run brings a file that trickles to the only worker, which is idle. Nobody else waits for it, and it has an end."""

import threading

from tests.fakes.http import Origin
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save


def test_a_file_that_trickles_delays_nobody(start_fake: StartFake, site: Origin) -> None:
    stack = start_fake(fetch_least_bytes_per_s="5", fetch_window_s="3").wait_ready()
    mallory, victim = stack.client("mallory"), stack.client("victim")
    dry = threading.Event()
    url = site.put("/models/lora.bin", bytes(1 << 20), dry=dry)

    slow = mallory.submit(fake_save("slow"), files={"/models/loras/lora.bin": url})
    mallory.wait_for(slow, "status", state="assigned")
    site.asked.get(timeout=120)

    assert victim.run(fake_save("at once"))["status"] == "COMPLETED"
    assert mallory.get(slow)["status"] == "INIT"

    dry.set()
    run = mallory.finish(slow)
    assert (run["status"], run["end_reason"], run["attempt"]) == ("ERROR", "download", 1)
    assert run["run_time"] is None
    assert run["error"]["message"].startswith(
        "The file for '/models/loras/lora.bin' could not be fetched from 127.0.0.1"
    )
    assert "in 3 s, which is too slow: a file must arrive with 5 bytes/s at least." in run["error"]["message"]
    assert run["error"]["hint"] == "Use a faster host, or upload the file once and use it by name."
    assert len(site.requests) == 1
    assert [path for path in stack.data_dir.glob("cache/parts/*") if path.is_file()] == []
