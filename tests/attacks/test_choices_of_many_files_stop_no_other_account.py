"""An account with tens of thousands of files asks for ComfyUI's classes, some of whose inputs offer each of them.

Others are answered meanwhile, and an input offers no more than so many."""

from __future__ import annotations

from comfyward.api.native.nodes import MOST_OFFERED
from comfyward.ids import new_secret
from comfyward.store import accounts
from tests.attacks.long_requests import answered_beside
from tests.attacks.raw_worker import RawWorker, catalog_of, token_for
from tests.attacks.test_long_lists_stop_no_other_account import with_many_files
from tests.stack.conftest import StartFake

CLASSES, REQUESTS = 10, 8
READER = {"input": {"required": {"image": [[], {}]}}, "output": [], "output_node": True}
NODES = {f"Load{number}": READER for number in range(CLASSES)}
FOLDERS = {name: {"image": "input"} for name in NODES}


def test_descriptions_of_classes(start_fake_once: StartFake) -> None:
    stack = start_fake_once(fleet="none", accelerators="L4")
    catalog = catalog_of("Paint", nodes=NODES, folders=FOLDERS)
    worker = RawWorker(stack, token_for(stack, None), secret=new_secret())
    assert worker.hello(catalog).status_code == 200
    assert worker.put_catalog(catalog).status_code == 204
    hostile, other = stack.client("collector"), stack.client("other")
    stack.write(with_many_files, stack.write(accounts.by_name, "collector").id)

    answers = answered_beside(other, hostile, "/comfy/object_info", REQUESTS)

    assert [answer.content.count(b"of-many-") for answer in answers] == [CLASSES * MOST_OFFERED] * REQUESTS
    assert "of-many-" not in other.http.get("/comfy/object_info").text
