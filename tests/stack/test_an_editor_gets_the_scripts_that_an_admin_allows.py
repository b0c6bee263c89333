"""The scripts of packs reach the editor of workflows of their environment, at its own origin, once they are allowed."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import blake3
import httpx2
import pytest

from comfyward.environments.web_files import WebFile, packed
from tests import loopback
from tests.attacks.environment_lab import Lab, archive_of, bring
from tests.attacks.test_a_ticket_opens_one_workflow_alone import framed
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack

OURS = "/extensions/comfyward/ours.js"
FILES = {
    "kj/a.js": "export const a = 1;",
    "kj/inner/b c.js": "import '../a.js';",
    "kj/style.css": "b {}",
    "kj/page.html": "<script>1</script>",
    "kj /kj/config.js": "export const route = 1;",
    "kj /kj/version": "1",
    "rg/a.js": "export const rg = 1;",
    "rg /rg/version": "2",
}


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none")


@pytest.fixture
def lab(stack: Stack) -> Lab:
    return Lab(stack)


@pytest.fixture
def editor(stack: Stack) -> Iterator[httpx2.Client]:
    host = urlsplit(stack.editor_url).netloc
    with loopback.Client(base_url=stack.url, headers={"Host": host}) as client:
        yield client


def frame(lab: Lab, environment: str) -> str:
    """The path of the frame of a new workflow of an environment."""
    return framed(lab.stack.visitor(), lab.workflow(environment))


@pytest.mark.several_servers
def test_an_allowed_pack_sends_its_files_and_another_nothing(lab: Lab, editor: httpx2.Client) -> None:
    lab.promoted({"kj": True, "rg": False}, FILES)
    path = frame(lab, lab.name)

    for below in ("", "/api"):
        listed = editor.get(f"{path}{below}/extensions").json()
        assert listed == [OURS, "/extensions/kj/a.js", "/extensions/kj/inner/b%20c.js"]
    for url in listed[1:]:
        script = editor.get(f"{path}{url}")
        assert (script.status_code, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
        assert "immutable" in script.headers["cache-control"]
        again = editor.get(f"{path}{url}", headers={"If-None-Match": script.headers["etag"]})
        assert again.status_code == 304
    assert editor.get(f"{path}/extensions/kj/style.css").headers["content-type"].startswith("text/css")
    page = editor.get(f"{path}/extensions/kj/page.html")
    assert page.headers["content-type"] == "application/octet-stream"
    assert page.headers["content-security-policy"].startswith("sandbox;")
    assert editor.get(f"{path}/kj/config.js").headers["content-type"].startswith("text/javascript")
    assert editor.get(f"{path}/api/kj/version").json() == editor.get(f"{path}/kj/version").json() == 1
    for url in ("/extensions/rg/a.js", "/rg/version", "/api/rg/version", "/extensions/kj/c.js", "/api/kj/reboot"):
        missing = editor.get(path + url)
        assert missing.status_code == 404, url
        assert "a worker's ComfyUI cannot be reached from outside" in missing.json()["error"]["message"]
    assert editor.post(f"{path}/api/kj/settings", json={}).status_code == 404


def test_other_workflows_and_the_websites_origin_get_none(lab: Lab, stack: Stack, editor: httpx2.Client) -> None:
    lab.promoted({"kj": True}, {"kj/a.js": "1"})
    path, own = frame(lab, lab.name), frame(lab, "default")

    assert editor.get(f"{own}/extensions").json() == [OURS]
    assert editor.get(f"{own}/extensions/kj/a.js").status_code == 404
    workflow = path.split("/")[2]
    assert lab.client.http.get(f"/workflows/{workflow}/comfy/extensions").json() == [OURS]
    assert lab.client.http.get(f"/workflows/{workflow}/comfy/extensions/kj/a.js").status_code == 404
    page = lab.stack.visitor().get(f"/workflows/{workflow}/edit")
    assert "Scripts of packs are off" not in page.text
    page = lab.stack.visitor().get(f"/workflows/{workflow}/edit", params={"frame": "here"})
    assert "Scripts of packs are off: the editor has no host name of its own" in page.text
    other = path.replace(workflow, own.split("/")[2])
    assert editor.get(f"{other}/extensions/kj/a.js").status_code == 403
    assert editor.get(f"{path[:-10]}/comfy/extensions/kj/a.js").status_code == 403


def test_a_revision_s_page_names_the_scripts_that_it_changes(lab: Lab, stack: Stack) -> None:
    lab.promoted({"kj": True}, {"kj/a.js": "1"})
    digest, worker = lab.revision("2", packs={"kj": True}), lab.worker()
    lab.has_ready(worker, digest, "Paint")
    assert bring(worker, digest, {"kj/a.js": "12"}).status_code == 204

    page = stack.visitor().get(f"/environments/{lab.name}/revisions/2").text

    assert "<td>script <strong>/extensions/kj/a.js</strong></td>" in page


def test_an_absolute_address_leads_to_the_workflow_of_its_referer(lab: Lab, editor: httpx2.Client) -> None:
    lab.promoted({"kj": True}, {"kj/a.js": "1", "kj/a b.css": "b {}"})
    path = frame(lab, lab.name)

    def ask(referer: str, url: str = "/extensions/kj/a%20b.css") -> httpx2.Response:
        return editor.get(url, headers={"Referer": referer} if referer else {}, follow_redirects=False)

    led = ask(f"{lab.stack.editor_url}{path}/")
    assert led.status_code == 307
    assert led.headers["location"] == f"{path}/extensions/kj/a%20b.css"
    assert editor.get(led.headers["location"]).text == "b {}"
    assert ask(f"{lab.stack.editor_url}{path}/extensions/kj/a.css").status_code == 307
    here = lab.stack.editor_url
    file = {"image": ("a.png", b"a picture", "image/png")}
    sent = editor.post("/upload/image", files=file, headers={"Referer": f"{here}{path}/"}, follow_redirects=True)
    assert sent.status_code == 200, sent.text
    seen = editor.get("/view?filename=a.png&type=input", headers={"Referer": f"{here}{path}/"}, follow_redirects=True)
    assert seen.content == b"a picture"
    assert ask(f"http://stranger.example{path}/", "/view?filename=a.png&type=input").status_code == 404
    for referer in ("", here, f"http://stranger.example{path}/", f"{here}/workflows/x/", f"{here}{path}"):
        assert ask(referer).status_code == 404, referer


@pytest.mark.several_servers
def test_a_yes_or_no_of_an_admin_is_a_revision_that_needs_no_build(lab: Lab, editor: httpx2.Client) -> None:
    first = lab.promoted({"kj": False}, {"kj/a.js": "1"})
    path = frame(lab, lab.name)
    assert editor.get(f"{path}/extensions").json() == [OURS]

    assert lab.revision("1", packs={"kj": True}) == first
    assert lab.post("promote").json()["current"] == 2
    assert editor.get(f"{path}/extensions").json() == [OURS, "/extensions/kj/a.js"]
    shown = {each["number"]: each["scripts"] for each in lab.shown()["revisions"]}
    sizes = {"scripts": 1, "script_bytes": 1, "files": 1, "bytes": 1}
    assert shown == {number: [{"pack": "kj", "is_allowed": number == 2, **sizes}] for number in (1, 2)}

    assert lab.post("rollback").json()["current"] == 1
    assert editor.get(f"{path}/extensions").json() == [OURS]
    assert editor.get(f"{path}/extensions/kj/a.js").status_code == 404


def test_only_a_worker_that_was_asked_brings_files_and_only_of_packs_that_are_there(lab: Lab, stack: Stack) -> None:
    digest = lab.revision("1", packs={"kj": True})
    able, elsewhere = lab.worker(), Lab(stack).worker()

    assert bring(elsewhere, digest, {"kj/a.js": "1"}).status_code == 403
    assert bring(able, "0" * 64, {"kj/a.js": "1"}).status_code == 403
    stranger = bring(able, digest, {"rg/a.js": "1"})
    assert (stranger.status_code, stranger.json()["message"]) == (400, "The environment has no pack 'rg'.")
    for archive in (b"PK", packed([WebFile("/extensions/../a.js", "kj", b"1")])):
        url = f"environments/{digest}/web/{blake3.blake3(archive).hexdigest()}"
        assert able.call("PUT", url, content=archive).status_code == 400
    archive = archive_of({"kj/a.js": "1"})
    assert able.call("PUT", f"environments/{digest}/web/{'0' * 64}", content=archive).status_code == 400
    assert able.call("PUT", f"environments/{digest}/web/{'0' * 64}", content=bytes(25 << 20)).status_code == 413
    assert lab.shown()["revisions"][0]["scripts"] is None
    assert bring(able, digest, {"kj/a.js": "1"}).status_code == 204


def test_a_token_for_one_pool_decides_nothing_for_others(lab: Lab, editor: httpx2.Client) -> None:
    digest, pool = lab.revision("1", packs={"kj": True}), f"{lab.name}-lent"
    lent = lab.worker(pool=pool, of=pool)
    lab.has_ready(lent, digest, "Paint")
    assert bring(lent, digest, {"kj/lent.js": "1"}).status_code == 204
    assert lab.post("promote", without_trial=True).status_code == 200
    here = lab.client.http.post("/api/v1/workflows", json={"environment": lab.name, "accelerator": pool}).json()["id"]
    there = frame(lab, lab.name)
    path = framed(lab.stack.visitor(), here)
    assert editor.get(f"{path}/extensions").json() == [OURS, "/extensions/kj/lent.js"]
    assert editor.get(f"{there}/extensions").json() == [OURS]

    own = lab.worker()
    lab.has_ready(own, digest, "Paint")
    assert bring(own, digest, {"kj/own.js": "1"}).status_code == 204
    assert bring(lent, digest, {"kj/again.js": "1"}).status_code == 204
    for each in (path, there):
        assert editor.get(f"{each}/extensions").json() == [OURS, "/extensions/kj/own.js"]


def test_the_origin_refuses_service_workers(lab: Lab, editor: httpx2.Client) -> None:
    lab.promoted({"kj": True}, {"kj/a.js": "1"})
    path = frame(lab, lab.name)

    for url in (f"{path}/extensions/kj/a.js", f"{path}/", "/", "/editor/x"):
        assert editor.get(url, headers={"Service-Worker": "script"}).status_code == 403
    assert "Service-Worker" in editor.get(f"{path}/extensions/kj/a.js").headers["vary"]
