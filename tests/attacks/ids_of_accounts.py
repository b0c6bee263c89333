"""One account's things with all their ids, ids that nobody has, and requests that name them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2

from comfyward.api.paging import cursor_of
from tests.routes import WIRES, pages, served, whole
from tests.stack.graphs import fake_save, fake_wait, load_and_save, node
from tests.stack.stack import Client, Stack

Ids = Mapping[str, str]
Route = tuple[str, str]

# By parameter of a path: what names nothing of an account.
PLAIN = {
    **{"folder": "loras", "index": "0", "kind": "input", "language": "en", "locale": "en", "text": "x"},
    **{"class_type": "FakeSave", "pack": "x", "number": "1", "pin_id": "x", "worker_id": "x", "workflow": "x"},
    **{"target": "moved.json"},
}
# The parameter `name` is one of these, by a part of the path; elsewhere it names nothing of an account.
NAMES = {
    **{"/secrets/": "secret", "/userdata/": "editor_file", "/settings/": "setting", "/view/": "output"},
    **{"/models/": "model", "/model-previews/": "model"},
}
BODIES: dict[str, dict[str, Any]] = {
    "/api/v1/secrets/{name}": {"value": "v", "hosts": ["example.com"]},
    "/api/v1/workflows/{workflow_id}/runs": {"prompt": fake_save()},
    "/api/v1/workflows/{workflow_id}": {"name": "taken over"},
    "/api/v1/models/{folder}/{name}": {"title": "taken over"},
    "/comfy/api/assets/{id}": {"name": "taken over"},
    "/comfy/api/assets/{id}/tags": {"tags": ["taken-over"]},
}
FORMS = {"/workflows/{workflow_id}/settings": {"name": "taken over"}}


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    json: Any = None
    form: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None

    def sent(self, http: httpx2.Client) -> httpx2.Response:
        return http.request(self.method, self.target, json=self.json, data=self.form, headers=self.headers)


Question = Callable[[Ids], Request]
QUESTIONS: dict[str, Question] = {
    "v1: runs after a cursor": lambda ids: Request("GET", f"/api/v1/runs?cursor={cursor_of(2**45, ids['run_id'])}"),
    "v1: workflows after a cursor": lambda ids: Request(
        "GET", f"/api/v1/workflows?cursor={cursor_of(2**45, ids['workflow_id'])}"
    ),
    "v1: runs of a workflow": lambda ids: Request("GET", f"/api/v1/runs?workflow={ids['workflow_id']}"),
    "v1: deliveries of a run": lambda ids: Request("GET", f"/api/v1/webhooks/deliveries?run={ids['run_id']}"),
    "v1: a run's workflow": lambda ids: Request(
        "POST",
        "/api/v1/workflows/default/runs",
        {"prompt": node_of("FakeSave", text="x"), "workflow_id": ids["workflow_id"], "accelerator": "nobody's"},
    ),
    "v1: a run's result of another": lambda ids: Request(
        "POST",
        "/api/v1/workflows/default/runs",
        {"prompt": load_and_save(f"{ids['run_id']}/{ids['output']} [output]")},
    ),
    "v1: a file by digest": lambda ids: Request(
        "POST", "/api/v1/files", {"path": "/input/mine", "digest": f"blake3:{ids['digest']}"}
    ),
    "v1: deletes a file": lambda ids: Request("DELETE", f"/api/v1/files?path=/input/{ids['file']}"),
    "v1: restores a model": lambda ids: Request("POST", "/api/v1/models/restore", {"id": ids["deletion"]}),
    "v1: asks for a workflow's packs": lambda ids: Request(
        "POST", "/api/v1/environment-requests", {"workflow": ids["lacking"]}
    ),
    "v1: an import as an errand": lambda ids: Request("GET", f"/api/v1/workflows/get/import-{ids['import_id']}"),
    "v1: stops an errand": lambda ids: Request("DELETE", f"/api/v1/workflows/get/import-{ids['import_id']}"),
    "v2: an asset by hash": lambda ids: Request(
        "POST", "/api/v2/assets/from-hash", {"hash": f"blake3:{ids['digest']}", "file_path": "mine.png"}
    ),
    "v2: a job's asset": lambda ids: Request(
        "POST",
        "/api/v2/jobs",
        {"workflow": load_and_save({"__type": "core/ASSET", "info": {"id": ids["id"]}})},  # type: ignore[arg-type]
    ),
    "comfy: history": lambda ids: Request("POST", "/comfy/history", {"delete": [ids["prompt_id"]]}),
    "comfy: queue": lambda ids: Request("POST", "/comfy/queue", {"delete": [ids["prompt_id"]]}),
    "comfy: interrupt": lambda ids: Request("POST", "/comfy/interrupt", {"prompt_id": ids["prompt_id"]}),
    "comfy: jobs": lambda ids: Request("POST", "/comfy/jobs/cancel", {"job_ids": [ids["prompt_id"]]}),
    "comfy: jobs of a workflow": lambda ids: Request("GET", f"/comfy/jobs?workflow_id={ids['workflow_id']}"),
    "comfy: a result": lambda ids: Request("GET", f"/comfy/view?filename={ids['output']}&subfolder={ids['run_id']}"),
    "comfy: a file": lambda ids: Request("GET", f"/comfy/view?filename={ids['file']}&type=input"),
    "comfy: a file by hash": lambda ids: Request("GET", f"/comfy/view?filename=blake3:{ids['digest']}"),
    "comfy: an asset by hash": lambda ids: Request(
        "POST", "/comfy/api/assets/from-hash", {"hash": f"blake3:{ids['digest']}", "name": "x", "tags": ["input"]}
    ),
    "comfy: a header of a model": lambda ids: Request("GET", f"/comfy/view_metadata/loras?filename={ids['model']}"),
    "page: runs by id": lambda ids: Request("GET", f"/runs/rows?ids={ids['run_id']}"),
    "page: runs of a workflow": lambda ids: Request("GET", f"/runs?workflow={ids['workflow_id']}"),
    "page: runs of a key": lambda ids: Request("GET", f"/runs?key={ids['key_id']}"),
    "page: deliveries of a run": lambda ids: Request("GET", f"/account/webhooks?run={ids['run_id']}"),
    "page: a workflow that was deleted": lambda ids: Request("GET", f"/workflows?deleted={ids['deleted']}"),
    "page: deletes a file": lambda ids: Request("POST", "/files/delete", form={"path": f"/input/{ids['file']}"}),
    "page: deletes a model": lambda ids: Request("POST", "/models/delete", form={"path": model_at(ids)}),
    "page: describes a model": lambda ids: Request(
        "POST", "/models/describe", form={"path": model_at(ids), "title": "taken over"}
    ),
    "page: restores a model": lambda ids: Request("POST", "/models/restore", form={"id": ids["deletion"]}),
}


def node_of(class_type: str, **inputs: str) -> dict[str, Any]:
    return {"1": node(class_type, **inputs)}


def model_at(ids: Ids) -> str:
    return f"/models/loras/{ids['model']}"


def made(stack: Stack, owner: Client, browser: httpx2.Client) -> tuple[Ids, Ids]:
    """The ids of an account's things: with a run that ended, and with one that goes on.

    One of the same account's workflows has a class that is known from a pack alone ("Fancy Blend").
    """
    http = owner.http
    workflow, lacking, deleted = (
        _id(http.post("/api/v1/workflows", json={"name": name, "prompt": graph}))
        for name, graph in (
            ("of its owner", fake_save()),
            ("lacks a pack", {"1": node("Fancy Blend")}),
            ("goes", fake_save()),
        )
    )
    assert http.delete(f"/api/v1/workflows/{deleted}").status_code == 204
    run = owner.finish(_id(owner.post_run({"prompt": fake_save(), "webhook": "http://127.0.0.1:9/"}, workflow)))
    goes_on = owner.get(_id(owner.post_run({"prompt": fake_wait(3600)}, workflow)))
    owner.wait_for(goes_on["id"], "status", state="running")
    [output] = http.get(f"/api/v2/jobs/{run['prompt_id']}").json()["outputs"]
    begun = http.post("/api/v1/uploads", headers={"Upload-Length": "9", "Upload-Metadata": "path L2lucHV0L2xhdGU="})
    wanted = {"path": "/input/imported", "url": "http://127.0.0.1:9/"}
    for name in ("owned.safetensors", "gone.safetensors"):
        assert http.post(f"/api/v1/files?path=/models/loras/{name}", content=name.encode()).status_code == 201
    file = http.post("/api/v1/files?path=/input/owned.png", content=b"of its owner alone").json()
    assert http.put("/api/v1/secrets/OWNED", json=BODIES["/api/v1/secrets/{name}"]).status_code == 200
    assert http.post("/comfy/userdata/owned.json", content=b"{}").status_code == 200
    assert http.post("/comfy/settings/owned", json="of its owner").status_code == 200
    me, asked = http.get("/api/v1/me").json(), http.post("/api/v1/environment-requests", json={"workflow": lacking})
    [session] = re.findall(r"/account/sessions/([^/\"]+)/end", browser.get("/account/security").text)
    ids = {
        "workflow_id": workflow,
        "lacking": lacking,
        "deleted": deleted,
        "run_id": run["id"],
        "prompt_id": run["prompt_id"],
        "delivery_id": http.get("/api/v1/webhooks/deliveries").json()[0]["id"],
        "id": output["id"],
        "output": output["name"],
        "digest": file["digest"].removeprefix("blake3:"),
        "file": "owned.png",
        "upload_id": begun.headers["location"].rpartition("/")[2],
        "import_id": _id(http.post("/api/v1/imports", json=wanted)),
        "key_id": me["api_key_id"],
        "account_id": me["id"],
        "session_id": session,
        "request_id": _id(asked),
        "secret": "OWNED",
        "editor_file": "owned.json",
        "setting": "owned",
        "model": "owned.safetensors",
        "deletion": _id(http.delete("/api/v1/models/loras/gone.safetensors")),
    }
    return ids, {**ids, "run_id": goes_on["id"], "prompt_id": goes_on["prompt_id"]}


def nobodys(ids: Ids) -> Ids:
    """Ids and names of the same form, which nobody has."""
    return {word: value.partition(".")[0].translate(_NEXT) + _suffix(value) for word, value in ids.items()}


def shown_to(owner: Client) -> dict[str, Any]:
    """What an account has, but for what changes by itself."""
    lists = {path: owner.http.get(path).json() for path in LISTS}
    states = {each["id"]: each["status"] for each in lists.pop("/api/v1/runs")}
    models = {each["path"]: each["title"] for each in lists.pop("/api/v1/models/library")["models"]}
    ids = {path: lists.pop(path) for path in ("/api/v1/imports", "/api/v1/webhooks/deliveries")}
    found = {path: {each["id"] for each in listed} for path, listed in ids.items()}
    return {**lists, **found, "states": states, "models": models}


LISTS = (
    *("/api/v1/runs", "/api/v1/workflows", "/api/v1/files", "/api/v1/imports", "/api/v1/secrets"),
    *("/api/v1/webhooks/deliveries", "/api/v1/models/library", "/api/v1/environment-requests"),
    *("/comfy/userdata?dir=&recurse=true", "/comfy/settings", "/comfy/api/assets"),
)


def routes_with_ids() -> list[Route]:
    """All routes with parameters but those of workers, fleets and logins; once, where they have two addresses."""
    known = set(served(whole().routes))
    found = {(method, path) for method, path in known if "{" in path and not path.startswith((*WIRES, "/enter/"))}
    return sorted(found - {(method, path.replace("/comfy/", "/comfy/api/")) for method, path in known})


def routes_of_lists() -> list[str]:
    """The paths of all GET routes without parameters."""
    return sorted(path for method, path in served(whole().routes) if method == "get" and "{" not in path)


def request_of(route: Route, ids: Ids) -> Request:
    """Raises KeyError for a parameter that is neither among the ids nor in PLAIN."""
    (method, path), target = route, _filled(route[1], ids)
    if method not in ("post", "put", "patch"):
        return Request(method, target)
    if route in PAGES:
        return Request(method, target, form=FORMS.get(path, {"x": "y"}))
    return Request(method, target, json=BODIES.get(path, {}))


PAGES = pages()


def _filled(path: str, ids: Ids) -> str:
    errand = f"request-{ids['request_id']}"
    also = {"job_id": errand if "/workflows/get/" in path else ids["prompt_id"], "asset_id": ids["id"]}
    also |= {"hash": f"blake3:{ids['digest']}", "request": ids["request_id"], "source": ids["editor_file"]}
    also |= {"filename": ids["model"], "name": next((ids[what] for part, what in NAMES.items() if part in path), "x")}
    known = {**PLAIN, **ids, **also}
    return re.sub(r"\{(\w+)\}", lambda found: quote(known[found[1]], safe=":"), path)


def _suffix(name: str) -> str:
    return name[len(name.partition(".")[0]) :]


def _id(answer: httpx2.Response) -> str:
    assert answer.status_code < 300, answer.text
    return str(answer.json()["id"])


_RINGS = ("0123456789", "abcdef", "ghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_NEXT = str.maketrans({here: there for ring in _RINGS for here, there in zip(ring, ring[1:] + ring[0], strict=True)})
