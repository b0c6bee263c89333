"""Two accounts on one website: whatever the first one has is not there for the second."""

import pytest

from tests import loopback
from tests.stack.graphs import picture
from tests.stack.stack import Stack
from tests.stack.web.conftest import Enter

PAGES = (
    "/workflows/{workflow}",
    "/workflows/{workflow}/edit",
    "/workflows/{workflow}/graph",
    "/workflows/{workflow}/settings",
    "/workflows/{workflow}/form",
    "/workflows/{workflow}/api",
    "/explore/{workflow}",
    "/explore/{workflow}/picture",
    "/runs/{run}",
    "/runs/{run}/log",
    "/runs/{run}/api",
    "/runs/{run}/change",
    "/runs/{run}/outputs.zip",
    "/api/v1/view/workflows/{workflow}/output/{run}/secret_00001_.png",
)
ACTIONS = (
    "/workflows/{workflow}/settings",
    "/workflows/{workflow}/duplicate",
    "/workflows/{workflow}/delete",
    "/workflows/{workflow}/restore",
    "/workflows/{workflow}/form",
    "/workflows/{workflow}/run",
    "/explore/{workflow}/use",
    "/runs/{run}/again",
    "/runs/{run}/cancel",
    "/runs/{run}/delete",
    "/runs/{run}/change",
)
ADMINS = ("/fleet", "/fleet/memory", "/fleet/users", "/fleet/workers/{worker}/log")


@pytest.fixture(scope="module")
def firsts(real: Stack) -> dict[str, str]:
    client = real.client("first-owner")
    workflow = client.http.post("/api/v1/workflows", json={"name": "Secret plan", "prompt": picture()}).json()["id"]
    run = client.finish(client.post_run({"prompt": picture(prefix="secret")}, workflow).json()["id"])
    client.http.post("/api/v1/files", params={"path": "/input/secret.png"}, content=b"secret")
    return {"workflow": workflow, "run": run["id"]}


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_not_found(real: Stack, firsts: dict[str, str], path: str) -> None:
    assert real.visitor("first-owner").get(path.format(**firsts)).status_code == 200
    assert real.visitor("second-one").get(path.format(**firsts)).status_code == 404


@pytest.mark.parametrize("path", ACTIONS)
def test_actions_change_nothing(real: Stack, firsts: dict[str, str], path: str) -> None:
    answer = real.visitor("second-one").post(path.format(**firsts), data={"name": "taken over"})

    assert answer.status_code == 404
    owner = real.visitor("first-owner")
    assert owner.get(f"/api/v1/workflows/{firsts['workflow']}").json()["name"] == "Secret plan"
    assert owner.get(f"/api/v1/runs/{firsts['run']}").json()["status"] == "COMPLETED"


@pytest.mark.parametrize("path", ADMINS)
def test_the_fleet_is_for_admins(real: Stack, path: str) -> None:
    path = path.format(worker=real.worker_id)
    assert real.visitor("second-one").get(path).status_code == 403
    assert real.visitor().get(path).status_code == 200


def test_lists_are_empty_and_live_events_are_ones_own(real: Stack, enter: Enter, firsts: dict[str, str]) -> None:
    page = enter(real, "second-one")
    for path in (
        "/workflows",
        "/runs",
        "/models",
        "/files",
        "/explore",
        "/account/webhooks",
        f"/runs/rows?ids={firsts['run']}",
    ):
        page.goto(path)
        assert "Secret plan" not in page.content()
        assert "secret_0" not in page.content().replace("<wbr>", "")
    page.goto("/runs")
    other, own = real.client("first-owner"), real.client("second-one")
    theirs = other.run(picture(0x111111))["id"]
    mine = own.run(picture(0x222222))["id"]
    page.locator(f"#run-{mine}").wait_for()
    assert page.locator(f"#run-{theirs}").count() == 0


def test_anonymous_visitors_are_asked_to_log_in(real: Stack, firsts: dict[str, str]) -> None:
    with loopback.Client(base_url=real.url) as stranger:
        for path in (*PAGES[:6], "/account", "/fleet", "/files", "/live"):
            answer = stranger.get(path.format(**firsts))
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/login?next=/"), path
