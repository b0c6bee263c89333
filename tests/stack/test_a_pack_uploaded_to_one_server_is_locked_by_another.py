"""A pack that was uploaded to one server is locked at another and built by a worker, once the first server is gone."""

from __future__ import annotations

import io
import zipfile

from tests.stack.conftest import StartCluster
from tests.stack.made_environments import Admin, comfyui_of


def test_the_other_server_and_the_worker_get_its_files(start_cluster: StartCluster) -> None:
    cluster = start_cluster()
    one, other = cluster.servers
    comfyui_of(other)  # each server's host has the source of ComfyUI
    admin = Admin(one, "shared")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as writing:
        writing.writestr("good/__init__.py", "NODE_CLASS_MAPPINGS = {'Good': object}\n")
    added = admin.http.post("/api/v1/environments/shared/packs", files={"file": ("good.zip", packed.getvalue())})
    assert added.status_code == 200, added.text
    cluster.join()
    admin.http = other.client().http
    one.kill()

    admin.post("try", 202)

    locked = admin.locked()
    assert (locked["state"], locked["revision"]) == ("done", 1), locked

    def has_ended(shown: dict) -> bool:
        return [host["state"] in ("ready", "failed") for host in shown["revisions"][0]["hosts"]] == [True]

    revision = admin.until(has_ended)["revisions"][0]
    assert [host["state"] for host in revision["hosts"]] == ["ready"], cluster.logs()
    assert admin.post("promote", 200)["current"] == 1
