"""Wrong requests: a 4xx with a code and a sentence, and no run, file or workflow more than before."""

import base64
import json

import pytest

from tests import loopback
from tests.stack.graphs import picture
from tests.stack.stack import Client, Stack

GRAPH = picture()
ODD = {"class_type": "EmptyImage", "inputs": {"width": {"not": "a number"}, "height": 8, "batch_size": 1, "color": 0}}


def counts(client: Client) -> tuple[int, ...]:
    return tuple(len(client.http.get(f"/api/v1/{what}").json()) for what in ("runs", "files", "workflows"))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{not json", 400, "invalid_request"),
        (b"[]", 400, "invalid_request"),
        (b"\xff\xfe", 400, "invalid_request"),
        (b"[" * 100_000, 400, "invalid_request"),
        (b"{}", 400, "invalid_request"),
        ({"prompt": "text"}, 400, "invalid_graph"),
        ({"prompt": {}}, 400, "invalid_graph"),
        ({"prompt": {"1": {"inputs": {}}}}, 400, "invalid_graph"),
        ({"prompt": {"nodes": [], "links": []}}, 400, "invalid_graph"),
        ({"prompt": GRAPH, "accelerator": "B9000"}, 422, "unknown_accelerator"),
        ({"prompt": GRAPH, "accelerator": 7}, 400, "invalid_request"),
        ({"prompt": GRAPH, "timeout": -1}, 400, "invalid_request"),
        ({"prompt": GRAPH, "timeout": 1e12}, 400, "invalid_request"),
        ({"prompt": GRAPH, "priority": "high"}, 400, "invalid_request"),
        ({"prompt": GRAPH, "webhook": "http://169.254.169.254/latest"}, 400, "invalid_url"),
        ({"prompt": GRAPH, "webhook": "file:///etc/passwd"}, 400, "invalid_url"),
        ({"prompt": GRAPH, "webhook": "https://exa mple.com/"}, 400, "invalid_url"),
        ({"prompt": GRAPH, "webhook": "http://[::1"}, 400, "invalid_url"),
        ({"prompt": {**GRAPH, "2": {**GRAPH["2"], "inputs": {"images": ["1", 1e300]}}}}, 400, "invalid_graph"),
        (
            {"prompt": {**GRAPH, "3": {"class_type": "PreviewAny", "inputs": {"source": ["4", 0]}}, "4": ODD}},
            400,
            "invalid_graph",
        ),
        (b'{"prompt": {"1": {"class_type": "X", "inputs": {"a": "\\ud800"}}}}', 400, "invalid_graph"),
        (
            {"prompt": GRAPH, "files": {"/input/a": {"url": "https://h/x", "headers": {"X": "€"}}}},
            400,
            "invalid_request",
        ),
        (
            b'{"prompt": {"1": {"class_type": "X", "inputs": {"a": %s%s}}}}' % (b"[" * 500, b"]" * 500),
            400,
            "invalid_graph",
        ),
        ({"prompt": GRAPH, "files": "x"}, 400, "invalid_request"),
        ({"prompt": GRAPH, "files": {"/input/../../etc/passwd": "https://example.com/x"}}, 400, "invalid_path"),
        ({"prompt": GRAPH, "files": {"/etc/passwd": "https://example.com/x"}}, 400, "invalid_path"),
        ({"prompt": GRAPH, "files": {"": "https://example.com/x"}}, 400, "invalid_path"),
        ({"prompt": GRAPH, "files": {"/input/a\0b": "https://example.com/x"}}, 400, "invalid_path"),
        ({"prompt": GRAPH, "files": {"/input/" + "a" * 2000: "https://example.com/x"}}, 400, "invalid_path"),
        ({"prompt": GRAPH, "files": {"/input/a": "file:///etc/passwd"}}, 400, "invalid_url"),
        ({"prompt": GRAPH, "files": {"/input/a": "http://10.0.0.1/x"}}, 400, "invalid_url"),
        ({"prompt": GRAPH, "files": {"/input/a": "http://0xa9fea9fe/x"}}, 400, "invalid_url"),
        ({"prompt": GRAPH, "files": {"/input/a": "http://[fe80::1]/x"}}, 400, "invalid_url"),
        ({"prompt": GRAPH, "files": {"/input/a": "data:x;base64,???"}}, 400, "invalid_url"),
    ],
)
@pytest.mark.several_servers  # a database may refuse, sort or compare what another does not
def test_a_bad_run_is_refused(client: Client, body: object, status: int, code: str) -> None:
    before = counts(client)
    url = "/api/v1/workflows/default/runs"

    answer = client.http.post(url, content=body) if isinstance(body, bytes) else client.http.post(url, json=body)

    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json()["message"] == answer.json()["error"]
    assert answer.json()["message"].endswith((".", "…"))
    assert counts(client) == before


def test_a_body_over_the_limit_is_refused_before_it_is_read(client: Client) -> None:
    answer = client.http.post("/api/v1/workflows/default/runs", content=b" " * (32 * 1024 * 1024 + 1))

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_unknown_things_are_not_found(client: Client) -> None:
    for path in ("/api/v1/workflows/nope/runs", "/api/v1/runs/nope", "/api/v1/nothing", "/nothing"):
        answer = client.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    assert client.post_run({"prompt": GRAPH}, workflow="nope").status_code == 404
    assert client.http.get("/api/v1/runs", params={"cursor": "!"}).status_code == 400
    assert client.http.get("/api/v1/runs", params={"status": "NOPE"}).status_code == 400
    too_far = base64.urlsafe_b64encode(b"[" + b"9" * 30 + b',"x"]').decode()
    assert client.http.get("/api/v1/runs", params={"cursor": too_far}).status_code == 400
    assert client.http.get("/api/v2/jobs", params={"cursor": too_far}).json()["error"]["code"] == "invalid_cursor"
    assert client.http.get("/api/v2/jobs", params={"limit": "0000000501"}).status_code == 400


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer cw_wrong"}, {"Authorization": "Basic eDp5"}])
def test_without_a_known_key_nothing_is_answered(real: Stack, header: dict[str, str]) -> None:
    for method, path in [("GET", "/api/v1/runs"), ("POST", "/api/v1/workflows/default/runs"), ("GET", "/api/v1/me")]:
        answer = loopback.request(method, real.url + path, headers=header)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert loopback.post(f"{real.url}/worker/v1/lease", headers=header, content=b"{}").status_code == 401


def test_json_is_taken_whatever_its_content_type(client: Client) -> None:

    headers = {"Content-Type": "text/plain"}
    answer = client.http.post("/api/v1/workflows/default/runs", content=json.dumps({"prompt": GRAPH}), headers=headers)

    assert answer.status_code == 200, answer.text
    assert client.finish(answer.json()["id"])["status"] == "COMPLETED"


def test_a_revoked_key_is_refused(real: Stack) -> None:
    key = real.cli("keys", "create", "short-lived").strip()
    headers = {"Authorization": f"Bearer {key}"}
    real.cli("keys", "revoke", "short-lived")

    assert loopback.get(f"{real.url}/api/v1/me", headers=headers).status_code == 401
    assert key not in (real.data_dir / "comfyward.db").read_bytes().decode("latin-1")
