"""Downloads of input files: resumed, verified, shared between runs, and refused with a reason."""

import threading

from comfyward.files.digest import digests_of
from comfyward.files.part import PART_BYTES
from tests.fakes.http import Origin
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Client


def test_a_broken_download_is_resumed(tenant: Client, site: Origin) -> None:
    data = bytes(range(256)) * (3 * PART_BYTES // 256)
    url = site.put("/big.bin", data, break_after=PART_BYTES // 2, breaks=2)

    run = tenant.run(fake_save("x"), files={"/models/checkpoints/big.bin": {"url": url, "digest": digests_of(data)[0]}})

    assert run["status"] == "COMPLETED", run["error"]
    sent = len(site.requests_to("/big.bin")) * PART_BYTES
    assert sent < 2 * len(data)  # finished parts were not fetched again


def test_a_web_page_instead_of_a_model_is_refused(tenant: Client, site: Origin) -> None:
    url = site.put("/login", b"<!DOCTYPE html><html><body>Please log in</body></html>")

    run = tenant.run(fake_save(), files={"/models/loras/style.safetensors": url})

    assert (run["status"], run["end_reason"]) == ("ERROR", "download")
    assert "web page" in run["error"]["message"]
    assert "/models/loras/style.safetensors" in run["error"]["message"]
    assert run["run_time"] is None  # no GPU time


def test_an_unreachable_or_missing_file_names_path_and_host(tenant: Client, site: Origin) -> None:
    for url, why in ((f"{site.url}/missing.png", "answered 404"), ("http://127.0.0.1:1/x.png", "Cannot connect")):
        run = tenant.run(fake_save(), files={"/input/a.png": url})

        assert (run["status"], run["end_reason"]) == ("ERROR", "download")
        details = run["error"]["details"]
        assert (details["path"], details["host"]) == ("/input/a.png", "127.0.0.1")
        assert why in details["why"]
        assert run["output"]["error"]["exception_type"] == "download"


def test_a_wrong_digest_is_refused(tenant: Client, site: Origin) -> None:
    url = site.put("/a", b"not what was promised")

    run = tenant.run(fake_save(), files={"/models/loras/a.bin": {"url": url, "digest": "0" * 64}})

    assert run["end_reason"] == "download"
    assert "digest" in run["error"]["message"]


def test_an_input_whose_content_changed_is_never_stale(tenant: Client, site: Origin) -> None:
    url = site.put("/text", b"first")

    def text() -> str:
        run = tenant.run(fake_save("a.txt"), files={"/input/a.txt": url})
        assert run["status"] == "COMPLETED", run["error"]
        return tenant.http.get(run["output"][0]["url"]).text

    assert text() == "first"
    assert text() == "first"
    site.put("/text", b"second")
    assert text() == "second"
    statuses = [request.headers.get("If-None-Match") for request in site.requests]
    assert statuses[0] is None
    assert all(statuses[1:])  # an unchanged file costs one conditional request


def test_many_waiting_runs_share_one_download(start_fake: StartFake, site: Origin) -> None:
    client = start_fake(local_accelerators="CPU,CPU", local_min_workers="2").wait_ready().client()
    release = threading.Event()
    url = site.put("/shared", b"shared" * 1000, hold=release)
    runs = [client.submit(fake_save(str(n)), files={"/models/loras/s.bin": url}) for n in range(6)]
    site.asked.get(timeout=120)
    release.set()

    assert {client.finish(run_id)["status"] for run_id in runs} == {"COMPLETED"}
    assert len(site.requests_to("/shared")) == 1


def test_credentials_go_to_their_own_host_only(tenant: Client, site: Origin) -> None:
    target = site.put("/target", b"bytes").replace("127.0.0.1", "localhost")
    url = site.put("/redirect", b"", status=302, headers={"Location": target})
    client_files = {"/input/a.bin": {"url": url, "headers": {"Authorization": "Bearer secret"}}}

    run = tenant.run(fake_save(), files=client_files)

    # "localhost" is another host, and not an allowed one by name: the address is what was allowed.
    assert run["status"] == "COMPLETED", run["error"]
    assert site.requests_to("/redirect")[0].headers["Authorization"] == "Bearer secret"
    assert "Authorization" not in site.requests_to("/target")[0].headers
    assert run["files"]["/input/a.bin"]["headers"] == {"Authorization": "***"}
