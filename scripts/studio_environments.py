"""Environments of a small studio for the pictures: revisions, and workers played by hand that tell of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from PIL import Image

from comfyward.store import environments
from comfyward.store.db import now_ms
from tests.attacks.environment_lab import Lab, bring, report, staying
from tests.stack.graphs import node
from tests.stack.stack import Stack
from tests.stack.web.environments import COLORAMA, MASKS, TOOLING, imported, locked, spec_of, write_node_map

TARGET = "linux-x86_64/py3.11"
DETAILER = "cnr:face-detailer@1.4.2"
BROKEN = "masks did not import: ModuleNotFoundError: No module named 'cv2' (masks/nodes.py, line 12)"


class Studio(Lab):
    """Its environments are locked for one target that workers have."""

    @property
    def target(self) -> str:
        return TARGET


@contextmanager
def studio(folder: Path) -> Iterator[tuple[Stack, dict[str, str], dict[str, str]]]:
    """(a server, the addresses of an admin's pages, those of a member's), while its workers stay present."""
    folder.mkdir()
    stack = Stack(folder, {"fleet": "none", "editor": "false", "node_map_dir": write_node_map(folder)})
    try:
        with filled(stack.start()) as (admins, members):
            yield stack, admins, members
    finally:
        stack.close()


@contextmanager
def filled(stack: Stack) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """(the addresses of an admin's pages, those of a member's)."""
    lab = Studio(stack, "portraits")
    packs = (locked(TOOLING), locked(DETAILER), locked(MASKS, install_script="0" * 64))
    digests = [
        lab.revision(
            str(number),
            spec=spec_of(TOOLING, DETAILER, *([MASKS] if number else []), comfyui="0.30.0"),
            locked=packs if number else packs[:2],
            packages=(COLORAMA,),
        )
        for number in range(3)
    ]
    first, second = (lab.worker(host=host, pool="L40S", device="NVIDIA L40S") for host in ("atlas", "boreas"))
    tooling = imported("comfyui-tooling-nodes", *(f"ETN_{name}" for name in ("LoadImage", "SendImage", "CropImage")))
    faces = {**imported("face-detailer", "FaceDetailer", "FaceBoxes", seconds=1.7), "written": 2}
    faces["writes"] = ["config.ini", "cache/boxes.json"]
    told = {"classes": 912, "start_s": 7.4, "size": 5_300_000_000, "own_size": 41_000_000, "packs": [tooling, faces]}
    picture = io.BytesIO()
    Image.radial_gradient("L").resize((192, 192)).save(picture, "PNG")
    for worker in (first, second):
        lab.has_ready(worker, digests[0], "Paint")
        shown = base64.b64encode(picture.getvalue()).decode()
        lab.tried(worker, digests[0], ready=True, picture=shown, **told)
        bring(worker, digests[0], {"face-detailer/boxes.js": "export const boxes = 1;"})
    lab.post("promote", revision=1)
    broken = {"folder": "masks", "imported": False, "error": f"{BROKEN}\nTraceback (most recent call last): …"}
    lab.tried(first, digests[1], ready=False, message=BROKEN, hint="Add its package.", packs=[tooling, broken])
    report(first, digests[1], "failed", message=BROKEN)
    lab.post("try", revision=3)
    report(second, digests[2], "building", step="Installing packages", part=0.4)
    stack.write(environments.create, "sketches", spec_of(TOOLING, comfyui="0.30.0"), now_ms())
    member = stack.client("mira").http
    body = {"name": "Fancy pictures", "prompt": {"1": node("Fancy Blend")}, "environment": ""}
    lacking = member.post("/api/v1/workflows", json=body).json()["id"]
    marked = {"name": "Lighthouse", "environment": "portraits", "in_trials": True}
    member.post("/api/v1/workflows", json=marked)
    member.post("/api/v1/environment-requests", json={"workflow": lacking})
    one = "/environments/portraits"
    with ExitStack() as present:
        for worker in (first, second):
            present.enter_context(staying(worker))
        admins = {
            "environments": "/environments",
            "environment": one,
            "environment-edit": f"{one}/edit",
            "environment-revision": f"{one}/revisions/1",
            "environment-failed": f"{one}/revisions/2",
        }
        yield admins, {"environments-member": "/environments", "workflow-lacking": f"/workflows/{lacking}"}
