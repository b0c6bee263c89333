"""ComfyUI's /api/assets and /api/tags, as it has them with --enable-assets: files by tag, by name and by hash."""

from __future__ import annotations

import json
from typing import Any

import blake3
import httpx2
import pytest

from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack

pytestmark = pytest.mark.several_servers  # a database may refuse, sort or compare what another does not


class Comfy:
    def __init__(self, client: Client, at: str = "/comfy/api") -> None:
        self.client, self.at = client, at

    def __call__(self, method: str, path: str, **more: Any) -> httpx2.Response:
        return self.client.http.request(method, self.at + path, **more)

    def upload(self, data: bytes, filename: str = "a.png", /, **fields: Any) -> httpx2.Response:
        return self("POST", "/assets", data=fields, files={"file": (filename, data, "image/png")})

    def names(self, **query: Any) -> list[str]:
        found = self("GET", "/assets", params=query)
        assert found.status_code == 200, found.text
        return [asset["name"] for asset in found.json()["assets"]]


@pytest.fixture
def account(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)[:60]


@pytest.fixture
def comfy(shared: Stack, account: str) -> Comfy:
    return Comfy(shared.client(account))


def digest(data: bytes) -> str:
    return blake3.blake3(data).hexdigest()


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_an_upload_is_seen_in_lists_graphs_and_by_hash(shared: Stack, comfy: Comfy) -> None:
    data = b"bytes of a picture"
    about = {"tags": "input,holiday", "name": "Beach.png", "user_metadata": json.dumps({"rating": 5})}
    made = comfy.upload(data, **about)
    assert made.status_code == 201, made.text
    asset = made.json()

    loader_path = f"{digest(data)}.png"
    wanted = {
        "name": "Beach.png",
        "hash": f"blake3:{digest(data)}",
        "asset_hash": f"blake3:{digest(data)}",
        "loader_path": loader_path,
        "size": len(data),
        "mime_type": "image/png",
        "tags": ["holiday", "input"],
        "user_metadata": {"rating": 5},
        "created_new": True,
    }
    assert {name: asset[name] for name in wanted} == wanted
    assert comfy("GET", f"/assets/{asset['id']}").json() == {k: v for k, v in asset.items() if k != "created_new"}
    assert comfy.client.http.get(f"/comfy{asset['preview_url']}").content == data
    assert comfy("GET", "/view", params={"filename": loader_path, "type": "input"}).content == data
    content = comfy("GET", f"/assets/{asset['id']}/content")
    assert (content.content, content.headers["content-disposition"]) == (data, "attachment; filename*=UTF-8''Beach.png")

    assert comfy("HEAD", f"/assets/hash/blake3:{digest(data)}").status_code == 200
    assert comfy("HEAD", f"/assets/hash/blake3:{digest(b'other')}").status_code == 404
    assert comfy("HEAD", "/assets/hash/x").status_code == 400

    other = Comfy(shared.client("somebody else"))
    assert other("HEAD", f"/assets/hash/blake3:{digest(data)}").status_code == 404
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", ""), ("PUT", ""), ("POST", "/tags")):
        body = {} if method == "GET" or (path == "" and method == "DELETE") else {"json": {"name": "x", "tags": ["x"]}}
        assert other(method, f"/assets/{asset['id']}{path}", **body).status_code == 404

    assert comfy("DELETE", f"/assets/{asset['id']}").status_code == 204
    assert code(comfy("GET", f"/assets/{asset['id']}")) == (404, "ASSET_NOT_FOUND")


def test_known_bytes_get_another_name(comfy: Comfy) -> None:
    first = comfy.upload(b"same", tags="input").json()
    by_hash = {"hash": f"blake3:{digest(b'same')}", "name": "again.png", "tags": ["models-to-be"]}
    second = comfy("POST", "/assets/from-hash", json=by_hash)
    assert (second.status_code, second.json()["created_new"]) == (201, False)
    assert (second.json()["name"], second.json()["tags"]) == ("again.png", ["models-to-be"])
    third = comfy("POST", "/assets", data={"hash": f"blake3:{digest(b'same')}", "name": "form.png"}, files={"x": b""})
    fourth = comfy.upload(b"same", "bytes.png")
    assert [(each.status_code, each.json()["created_new"]) for each in (third, fourth)] == [(200, False)] * 2
    assert len({each["id"] for each in (first, second.json(), third.json(), fourth.json())}) == 4
    assert code(comfy("POST", "/assets/from-hash", json={**by_hash, "hash": f"blake3:{digest(b'no')}"})) == (
        404,
        "ASSET_NOT_FOUND",
    )


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, "INVALID_BODY"),
        ({"tags": "holiday"}, "INVALID_BODY"),
        ({"tags": "input,output"}, "INVALID_BODY"),
        ({"tags": "models"}, "INVALID_BODY"),
        ({"tags": "models,model_type:.."}, "INVALID_BODY"),
        ({"tags": "input", "user_metadata": "{"}, "INVALID_BODY"),
        ({"tags": "input", "hash": "md5:x"}, "INVALID_BODY"),
        ({"tags": "input", "hash": f"blake3:{'0' * 64}"}, "HASH_MISMATCH"),
    ],
)
def test_uploads_that_cannot_be_placed(comfy: Comfy, fields: dict[str, str], wanted: str) -> None:
    assert code(comfy.upload(b"new bytes of " + str(fields).encode(), **fields)) == (400, wanted)
    assert comfy.names() == []


def test_a_model_lies_where_loaders_look(comfy: Comfy) -> None:
    asset = comfy.upload(b"weights", "w.safetensors", tags='["models", "model_type:loras"]').json()
    assert asset["tags"] == ["model_type:loras", "models"]
    assert asset["loader_path"] in comfy("GET", "/models/loras").json()


def test_lists_are_filtered_sorted_and_paged(comfy: Comfy) -> None:
    for number, name in enumerate(("One.png", "two.png", "three.txt")):
        kind = {"rating": number, "kinds": ["a", "b"] if number else ["c"]}
        tags = f"input,odd{number % 2}"
        comfy.upload(b"x" * (3 - number), name, tags=tags, name=name, user_metadata=json.dumps(kind))
    run = comfy.client.run(fake_save("an output"))
    output = run["output"][0]["filename"].rpartition("/")[2]

    assert comfy.names(sort="name", order="asc") == sorted(["One.png", "two.png", "three.txt", output])
    assert comfy.names(include_tags="input", sort="size", order="asc") == ["three.txt", "two.png", "One.png"]
    assert comfy.names(include_tags="input,odd1") == ["two.png"]
    assert comfy.names(include_tags="input", exclude_tags=["odd0"]) == ["two.png"]
    assert comfy.names(include_tags="output") == [output]
    assert comfy.names(name_contains="ONE") == ["One.png"]
    assert comfy.names(metadata_filter=json.dumps({"rating": 1})) == ["two.png"]
    assert set(comfy.names(metadata_filter=json.dumps({"kinds": ["a"]}))) == {"two.png", "three.txt"}
    of_run = comfy("GET", "/assets", params={"include_tags": "output"}).json()["assets"][0]
    assert of_run["job_id"] == of_run["prompt_id"] == run["prompt_id"]
    assert comfy.client.http.get(f"/comfy{of_run['preview_url']}").status_code == 200

    for order in ("asc", "desc"):
        for sort in ("name", "created_at", "updated_at", "size"):
            query: dict[str, Any] = {"sort": sort, "order": order, "limit": 1}
            walked: list[str] = []
            while True:
                page = comfy("GET", "/assets", params=query).json()
                walked += [asset["id"] for asset in page["assets"]]
                assert (page["total"], page["has_more"]) == (4, "next_cursor" in page)
                if not page["has_more"]:
                    break
                query["after"] = page["next_cursor"]
            whole = comfy("GET", "/assets", params={"sort": sort, "order": order}).json()["assets"]
            assert walked == [asset["id"] for asset in whole]
    assert code(comfy("GET", "/assets", params={**query, "sort": "name"})) == (400, "INVALID_CURSOR")
    for wrong in ({"limit": 0}, {"limit": 501}, {"offset": -1}, {"sort": "x"}, {"metadata_filter": "["}):
        assert code(comfy("GET", "/assets", params=wrong)) == (400, "INVALID_QUERY"), wrong
    assert len(comfy.names(limit=2, offset=3)) == 1


def test_tags_are_added_removed_and_counted(comfy: Comfy) -> None:
    asset = comfy.upload(b"tagged", tags="input,new").json()
    path = f"/assets/{asset['id']}"
    comfy.upload(b"second", tags="input,new")

    added = comfy("POST", f"{path}/tags", json={"tags": ["sea", "new", "input", "sea"]}).json()
    assert added == {
        "added": ["sea"],
        "already_present": ["new", "input"],
        "total_tags": ["input", "new", "sea"],
    }
    gone = comfy("DELETE", f"{path}/tags", json={"tags": ["new", "nothing", "input"]}).json()
    assert gone == {"removed": ["new"], "not_present": ["nothing", "input"], "total_tags": ["input", "sea"]}
    assert code(comfy("POST", f"{path}/tags", json={"tags": []})) == (400, "INVALID_BODY")

    counted = comfy("GET", "/tags").json()
    assert counted == {
        "tags": [{"name": "input", "count": 2}, {"name": "new", "count": 1}, {"name": "sea", "count": 1}],
        "total": 3,
        "has_more": False,
    }
    assert comfy("GET", "/tags", params={"prefix": "se"}).json()["total"] == 1
    assert comfy("GET", "/tags", params={"limit": 1}).json()["has_more"]
    assert comfy("GET", "/assets/tags/refine", params={"include_tags": "sea"}).json() == {
        "tag_counts": {"input": 1, "sea": 1}
    }


def test_asset_metadata_can_be_changed(comfy: Comfy) -> None:
    asset = comfy.upload(b"described", tags="input").json()
    path = f"/assets/{asset['id']}"
    changed = comfy("PUT", path, json={"name": "New name.png", "user_metadata": {"a": 1}}).json()
    assert (changed["name"], changed["user_metadata"]) == ("New name.png", {"a": 1})
    assert (changed["loader_path"], changed["id"]) == (asset["loader_path"], asset["id"])
    assert changed["updated_at"] > asset["updated_at"]
    assert code(comfy("PUT", path, json={})) == (400, "INVALID_BODY")
    assert code(comfy("PUT", path, content=b"{")) == (400, "INVALID_JSON")
    assert comfy("GET", path).json()["name"] == "New name.png"


def test_routes_that_need_no_scan(comfy: Comfy) -> None:
    assert comfy("POST", "/assets/seed?wait=true", json={}).json()["status"] == "completed"
    assert comfy("GET", "/assets/seed/status").json()["state"] == "IDLE"
    assert comfy("POST", "/assets/seed/cancel").json() == {"status": "idle"}
    assert comfy("POST", "/assets/prune").json()["status"] == "completed"
    assert code(Comfy(comfy.client)("GET", "/assets/not-an-id")) == (404, "ASSET_NOT_FOUND")
    comfy.client.http.headers.pop("authorization")
    assert comfy("GET", "/assets").status_code == 401
