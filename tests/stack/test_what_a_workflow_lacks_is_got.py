"""What a workflow lacks is said and got over the API: classes with their packs, models behind gates, uploads."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from comfyward.environments.registry import ComfyRegistry
from comfyward.environments.target import TARGET
from comfyward.environments.workshop import Workshop
from comfyward.files.guard import Guard
from comfyward.ids import new_secret
from tests.attacks.environment_lab import orders, report
from tests.attacks.raw_worker import RawWorker, catalog_of, token_for
from tests.fakes.http import Origin
from tests.fakes.model_sites import Civitai, Hub, civitai, hugging_face
from tests.stack.conftest import StartFake
from tests.stack.editor_files import node
from tests.stack.made_environments import Admin
from tests.stack.stack import NO_REGISTRY, Stack
from tests.stack.test_environments_are_locked_over_the_api import Silent, wait_until_gone
from tests.stack.waiting import until

FANCY = "https://github.com/someone/fancy-nodes"
MODEL = b"\x02" + bytes(7) + b"{}" + bytes(4000)  # a safetensors with an empty header
PATH = "/models/loras/{}"
MEMORY = {"vram_total": 24 << 30, "ram_total": 64 << 30}
LOADER = {"input": {"required": {"lora": [["None"], {}]}}, "output": ["LORA"]}
SAVER = {"input": {"required": {"lora": ["LORA", {}]}}, "output": [], "output_node": True}
READER = {"input": {"required": {"image": [[], {}]}}, "output": [], "output_node": True}
NODES = {"LoadLora": LOADER, "Save": SAVER, "LoadPicture": READER}
FOLDERS = {"LoadLora": {"lora": "loras"}, "LoadPicture": {"image": "input"}}


@dataclass
class Place:
    """A server whose one worker, of pool L4 with 24 GiB, is played by hand."""

    stack: Stack
    hub: Hub
    shop: Civitai
    worker: RawWorker
    silent: Silent


@pytest.fixture(scope="module")
def place(start_fake_once: StartFake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("map")
    for name, content in (("extension-node-map", {FANCY: [["Fancy"], {}]}), ("custom-node-list", {"custom_nodes": []})):
        (folder / f"{name}.json").write_text(json.dumps(content))
    table = folder / "table.toml"
    silent = Silent()
    table.write_text(f'Good = "{good_pack(folder)}"\nStuck = "{silent.source}"\n')
    with hugging_face() as hub, civitai() as shop, contextlib.closing(silent):
        sites = {"hugging_face_url": hub.url, "civitai_url": shop.url}
        stack = start_fake_once(fleet="none", node_map_dir=str(folder), node_table=str(table), **sites)
        good_pack(folder, stack)
        worker = RawWorker(stack, token_for(stack, None), secret=new_secret())
        catalog = catalog_of("Paint", nodes=NODES, folders=FOLDERS)
        assert worker.hello(catalog, target=TARGET, ready=[]).status_code == 200
        assert worker.put_catalog(catalog).status_code == 204
        assert worker.heartbeat(vitals={"memory": MEMORY}).status_code == 200
        yield Place(stack, hub, shop, worker, silent)


def good_pack(folder: Path, stack: Stack | None = None) -> str:
    """The source of a pack that has the class Good; with a server, it is there."""
    pack = folder / "good"
    pack.mkdir(exist_ok=True)
    (pack / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {'Good': object}\n")
    root = folder / "other" if stack is None else stack.data_dir / "environments"
    return str(Workshop.below(root, ComfyRegistry(NO_REGISTRY, Guard())).sources.add_folder(pack))


def lora_file(name: str, url: str = "", **more: Any) -> dict[str, Any]:
    """A workflow that loads a LoRA, and says where it is if that is given."""
    models = [{"name": name, "url": url, "directory": "loras", **more}] if url else []
    return {
        "nodes": [node(1, "LoadLora", name, properties={"models": models}), node(2, "Save")],
        "links": [[1, 1, 0, 2, 0, "LORA"]],
    }


def post(http: httpx2.Client, what: str, workflow: dict[str, Any], status: int = 0, **more: Any) -> dict[str, Any]:
    answer = http.post(f"/api/v1/workflows/{what}", json={"workflow": workflow, **more})
    assert answer.status_code == (status or {"check": 200, "get": 202}[what]), answer.text
    return dict(answer.json())


def ended(http: httpx2.Client, job: dict[str, Any]) -> dict[str, Any]:
    """A job once it is over."""
    return until(
        lambda shown: shown["state"] in ("done", "failed", "cancelled"),
        lambda: dict(http.get(f"/api/v1/workflows/get/{job['id']}").json()),
    )


def test_an_unknown_class_names_its_pack_its_node_and_its_place(place: Place) -> None:
    noted = {"cnr_id": "upscaling", "ver": "1.2.0"}
    inside = [node(7, "Upscale", title="Larger", properties=noted)]
    file = {
        "nodes": [node(1, "Fancy"), node(12, "box"), node(3, "Gone", mode=4)],
        "links": [],
        "definitions": {"subgraphs": [{"id": "box", "nodes": inside, "links": []}]},
    }

    found = post(place.stack.client("stranger").http, "check", file)

    assert [(each["class_type"], each["count"], each["environments"]) for each in found["classes"]] == [
        ("Fancy", 1, []),
        ("Upscale", 1, []),
    ]
    fancy, upscale = found["classes"]
    assert upscale["nodes"] == [{"id": "12:7", "title": "Larger", "class_type": "Upscale", "input": None}]
    assert [(each["source"], each["from"]) for each in upscale["packs"]] == [("cnr:upscaling@1.2.0", "workflow")]
    assert [(each["source"], each["from"]) for each in fancy["packs"]] == [(f"git+{FANCY}@HEAD", "map")]
    assert (found["runs"], found["format"], found["environment"]) == (False, "editor", "default")
    assert found["environments"] == [{"name": "default", "has_all": False, "lacks": ["Fancy", "Upscale"]}]


def test_a_refusal_names_the_check(place: Place) -> None:
    client = place.stack.client("refused")
    missing_class = client.post_run({"prompt": {"1": {"class_type": "Fancy", "inputs": {}}}}).json()
    prompt = {
        "1": {"class_type": "LoadLora", "inputs": {"lora": "nobody.safetensors"}},
        "2": {"class_type": "Save", "inputs": {"lora": ["1", 0]}},
    }
    missing_model = client.post_run({"prompt": prompt}).json()
    for refused in (missing_class, missing_model):
        assert "POST /api/v1/workflows/check" in refused["hint"], refused
        assert "POST /api/v1/workflows/get" in refused["hint"], refused


def test_a_gated_model_names_its_page_and_its_token_and_is_not_fetched(place: Place) -> None:
    http = place.stack.client("ungranted").http
    url = place.hub.put("closed/lora", "closed.safetensors", MODEL, is_gated=True)
    place.hub.licences["closed/lora"] = "other-than-free"
    file = lora_file("closed.safetensors", url)

    [model] = post(http, "check", file)["models"]
    got = post(http, "get", file)

    assert (model["gated"], model["size"], model["licence"]) == (True, None, "other-than-free")
    assert (model["page"], model["token"]) == (f"{place.hub.url}/closed/lora", "HF_TOKEN")
    assert "401" in model["problem"]
    assert got["jobs"] == []
    [left] = got["left"]
    assert (left["what"], f"{place.hub.url}/closed/lora" in left["hint"]) == (PATH.format("closed.safetensors"), True)
    assert "HF_TOKEN" in left["hint"]
    assert not [each for each in place.hub.store.requests if "closed" in each.path]


def test_civitai_wants_its_token_and_then_sends_the_file_from_another_host(place: Place) -> None:
    client, shop = place.stack.client("shopper"), place.shop
    url = shop.put(12, 34, "style.safetensors", MODEL, needs_login=True)
    file = lora_file("style.safetensors", url)

    [model] = post(client.http, "check", file)["models"]
    assert (model["gated"], model["token"], model["page"]) == (
        True,
        "CIVITAI_TOKEN",
        f"{shop.url}/model-versions/34",
    )
    assert "commercial use: Image" in model["licence"]
    refused = post(client.http, "get", file)
    assert (refused["jobs"], "CIVITAI_TOKEN" in refused["left"][0]["hint"]) == ([], True)

    shop.tokens.add("of-the-shopper")
    assert client.http.put("/api/v1/secrets/CIVITAI_TOKEN", json={"value": "of-the-shopper"}).status_code == 200
    [job] = post(client.http, "get", file)["jobs"]
    assert ended(client.http, job)["state"] == "done"
    assert post(client.http, "check", file)["models"] == []
    assert shop.store.requests, "the bytes came from the store"
    assert not [each for each in shop.store.requests if "Authorization" in each.headers]


def test_an_origin_that_refuses_head_tells_all_the_same(place: Place) -> None:
    place.hub.refuses_head = True
    try:
        url = place.hub.put("open/lora", "open.safetensors", MODEL)
        [model] = post(place.stack.client("headless").http, "check", lora_file("open.safetensors", url))["models"]
    finally:
        place.hub.refuses_head = False
    assert (model["size"], model["gated"], model["problem"]) == (len(MODEL), False, None)


def test_what_an_origin_does_not_tell_stays_unknown(place: Place, site: Origin) -> None:
    http = place.stack.client("unlucky").http
    gone = f"{site.url}/gone.safetensors"
    found = post(http, "check", lora_file("gone.safetensors", gone))
    [model] = found["models"]
    assert (model["url"], model["size"], model["licence"], model["gated"]) == (gone, None, None, None)
    assert "404" in model["problem"]
    assert (found["bytes"], found["unknown_sizes"]) == (0, 1)
    assert found["accelerators"] == [{"name": "L4", "memory": MEMORY["vram_total"], "fit": "unknown"}]
    private = post(http, "check", lora_file("x.safetensors", "http://10.0.0.1/x.safetensors"))["models"][0]
    assert "10.0.0.1" in private["problem"]


def test_a_model_is_fetched_once_followed_and_stopped(place: Place, site: Origin) -> None:
    http = place.stack.client("patient").http
    dry = threading.Event()
    endless = MODEL + bytes(1 << 20)  # a byte every few milliseconds
    file = lora_file("slow.safetensors", site.put("/slow.safetensors", endless, dry=dry))

    [first] = post(http, "get", file)["jobs"]
    [second] = post(http, "get", file, urls={PATH.format("slow.safetensors"): f"{site.url}/elsewhere"})["jobs"]

    assert first["id"] == second["id"]
    [model] = post(http, "check", file)["models"]
    assert f"import-{model['import']}" == first["id"]
    address = f"/api/v1/workflows/get/{first['id']}"
    assert site.asked.get() == "/slow.safetensors"
    shown = http.get(address).json()
    assert (shown["what"], shown["done"] < len(endless)) == (PATH.format("slow.safetensors"), True)
    stranger = place.stack.client("somebody-else").http
    assert stranger.get(address).status_code == stranger.delete(address).status_code == 404
    assert http.delete(address).status_code == 204
    assert http.get(address).status_code == 404
    assert http.get("/api/v1/imports").json() == []
    dry.set()


def test_a_model_must_have_the_hash_that_its_file_gives(place: Place) -> None:
    http = place.stack.client("exact").http
    url = place.hub.put("someone/changed", "changed.safetensors", MODEL)
    wrong, plain = (lora_file("changed.safetensors", url, **more) for more in ({"hash": "0" * 64}, {}))

    failed = ended(http, post(http, "get", wrong)["jobs"][0])
    assert (failed["state"], "does not have the expected digest" in failed["message"]) == ("failed", True), failed
    assert [each["name"] for each in post(http, "check", plain)["models"]] == ["changed.safetensors"]

    done = ended(http, post(http, "get", plain)["jobs"][0])
    assert (done["state"], done["done"]) == ("done", len(MODEL))
    assert post(http, "check", plain)["runs"] is True


def test_a_quota_holds_before_anything_is_fetched(place: Place) -> None:
    client = place.stack.client("poor")
    place.stack.cli("users", "quota", "poor", "--models", "3K")
    file = lora_file("large.safetensors", place.hub.put("someone/large", "large.safetensors", MODEL))

    refused = post(client.http, "get", file, 403)

    assert refused["code"] == "over_quota"
    assert client.http.get("/api/v1/imports").json() == []


def test_uploads_and_addresses_that_nobody_knows_are_asked_for(place: Place, site: Origin) -> None:
    http = place.stack.client("asked").http
    file = lora_file("unknown.safetensors")
    file["nodes"].append(node(3, "LoadPicture", "cat.png"))

    got = post(http, "get", file)
    assert [(each["name"], each["path"]) for each in got["uploads"]] == [("cat.png", "/input/cat.png")]
    assert [(each["what"], "address" in each["hint"]) for each in got["left"]] == [
        (PATH.format("unknown.safetensors"), True)
    ]
    url = site.put("/known.safetensors", MODEL)
    refused = post(http, "get", file, 400, urls={PATH.format("unknwon.safetensors"): url})
    assert refused["message"] == f"The workflow wants no model '{PATH.format('unknwon.safetensors')}'."
    assert PATH.format("unknown.safetensors") in refused["hint"]
    [job] = post(http, "get", file, urls={PATH.format("unknown.safetensors"): url})["jobs"]
    assert ended(http, job)["state"] == "done"
    assert http.post("/api/v1/files", params={"path": "/input/cat.png"}, content=b"cat").status_code == 201
    assert post(http, "check", file)["runs"] is True
    assert post(http, "get", file, urls={PATH.format("unknown.safetensors"): url})["jobs"] == []  # asked once more


def test_a_member_asks_an_admin_for_packs_once(place: Place) -> None:
    http, file = place.stack.client("member").http, {"nodes": [node(1, "Good")], "links": []}

    [job] = post(http, "get", file)["jobs"]

    assert (job["kind"], job["what"], job["state"]) == ("request", "good", "waiting")
    assert [each["id"] for each in post(http, "get", file)["jobs"]] == [job["id"]]
    address = f"/api/v1/workflows/get/{job['id']}"
    assert place.stack.client("another-member").http.delete(address).status_code == 404
    assert http.get("/api/v1/workflows/get/environment-default").status_code == 403
    assert http.delete(address).status_code == 204
    assert http.get(address).status_code == 404


def test_an_admins_environment_gets_the_pack_and_the_workflow_runs_there(place: Place) -> None:
    admin = Admin(place.stack, "portraits")
    file = {"nodes": [node(1, "Good", "text")], "links": []}
    assert post(admin.http, "check", file, environment="portraits")["problems"][0]["message"].startswith("No worker")

    [job] = post(admin.http, "get", file, environment="portraits")["jobs"]

    assert (job["kind"], job["what"]) == ("environment", "portraits")
    assert [each["id"] for each in post(admin.http, "get", file, environment="portraits")["jobs"]] == [job["id"]]
    assert admin.locked()["state"] == "done"
    shown = admin.get()
    assert [pack.partition("@")[0] for pack in shown["packs"]] == ["folder:good"]
    digest = shown["revisions"][0]["digest"]
    admin.until(lambda _: orders(place.worker) == [digest])
    address = f"/api/v1/workflows/get/{job['id']}"
    assert admin.http.get(address).json()["state"] == "running"
    assert place.worker.put_catalog(catalog_of("Good"), digest).status_code == 204
    assert place.worker.call("PUT", f"environments/{digest}/trial", json={"ready": True}).status_code == 204
    assert report(place.worker, digest, "ready").status_code == 200

    done = ended(admin.http, job)
    assert (done["state"], done["environment"]) == ("done", "portraits@1")
    assert post(admin.http, "check", file, environment="portraits@1")["runs"] is True
    elsewhere = post(admin.http, "check", file, environment="default")
    assert (elsewhere["runs"], elsewhere["best_environment"]) == (False, "default")
    assert admin.http.post("/api/v1/environments/portraits/promote", json={}).status_code == 200
    found = post(admin.http, "check", file)
    assert (found["runs"], found["environment"]) == (True, "portraits")
    assert post(admin.http, "check", file, environment="default")["classes"][0]["environments"] == ["portraits"]


def test_an_admins_get_makes_one_new_environment(place: Place) -> None:
    http, file = place.stack.client().http, {"nodes": [node(1, "Good"), node(2, "Fancy")], "links": []}

    [first] = post(http, "get", file, name="Fancy pictures!", environment="default")["jobs"]
    [second] = post(http, "get", file, name="Fancy pictures!", environment="default")["jobs"]

    assert (first["what"], second["id"]) == ("fancy-pictures", first["id"])
    packs = http.get("/api/v1/environments/fancy-pictures").json()["packs"]
    assert [pack.partition("@")[0] for pack in packs] == ["folder:good", f"git+{FANCY}"]


def test_an_environment_that_is_being_made_is_stopped(place: Place) -> None:
    admin = Admin(place.stack, "stuck")
    file = {"nodes": [node(1, "Stuck")], "links": []}
    [job] = post(admin.http, "get", file, environment="stuck")["jobs"]
    call = place.silent.called()
    address = f"/api/v1/workflows/get/{job['id']}"

    assert admin.http.delete(address).status_code == 204

    assert admin.http.get(address).json()["state"] == "cancelled"
    wait_until_gone(call)


def test_wrong_requests_are_refused_in_words(place: Place) -> None:
    http = place.stack.client("clumsy").http
    file = {"nodes": [node(1, "Save")], "links": []}
    for status, body in (
        (400, {}),
        (400, {"workflow": "text"}),
        (400, {"workflow": {"nodes": 7}}),
        (400, {"prompt": {"1": 7}}),
        (400, {"workflow": {"nodes": [{"id": 1, "type": []}], "links": []}}),
        (400, {"workflow": file, "environment": "nobodys"}),
    ):
        for what in ("check", "get"):
            answer = http.post(f"/api/v1/workflows/{what}", json=body)
            assert answer.status_code == status, (body, answer.text)
            assert answer.json()["message"], body
    assert http.get("/api/v1/workflows/get/nonsense").status_code == 404
