"""Runs with ten thousand results each, and tens of thousands of files, are listed again and again: others are answered
meanwhile."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, insert, update

from comfyward.runs.output import Output
from comfyward.store import accounts
from comfyward.store.rows import text_of
from comfyward.store.schema import files, runs
from tests.attacks.long_requests import answered_beside
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack

RESULTS = 10_000  # as many as a run may leave
RUNS, LISTS = 4, 16
PATHS = ("/api/v1/runs/{run_id}", "/api/v2/jobs/{job_id}", "/comfy/history/{job_id}", "/comfy/api/jobs/{job_id}")


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once().wait_ready()


@pytest.fixture(scope="module")
def hostile(stack: Stack) -> Client:
    client = stack.client("hostile")
    for number in range(RUNS):
        run = client.run(fake_save(f"{number}"))
        stack.write(_with_many_results, run["id"])
    return client


def test_another_account_is_answered_before_long_lists_are(stack: Stack, hostile: Client) -> None:
    answers = answered_beside(stack.client("other"), hostile, "/api/v1/runs", LISTS)

    assert [answer.status_code for answer in answers] == [200] * LISTS


@pytest.mark.parametrize("path", PATHS)
def test_a_run_shows_all_its_results(hostile: Client, path: str) -> None:
    [run] = hostile.http.get("/api/v1/runs?limit=1").json()

    shown = hostile.http.get(path.format(run_id=run["id"], job_id=run["prompt_id"]))

    assert shown.status_code == 200
    assert shown.text.count("of-many") >= RESULTS


def test_the_page_of_a_run_shows_a_part_of_them_and_says_so(stack: Stack, hostile: Client) -> None:
    run_id = hostile.http.get("/api/v1/runs?limit=1").json()[0]["id"]

    page = stack.visitor("hostile").get(f"/runs/{run_id}").text

    assert page.count("<figure") == 300
    assert f"The first 300 of {RESULTS} files are shown." in page


FILES = 30_000
LISTED = {
    "/api/v1/files": FILES,
    "/comfy/userdata?dir=&recurse=true": FILES,
    "/comfy/internal/files/input": FILES,
}


@pytest.fixture(scope="module")
def collector(stack: Stack) -> Client:
    client = stack.client("collector")
    stack.write(with_many_files, stack.write(accounts.by_name, "collector").id)
    return client


@pytest.mark.parametrize("path", LISTED)
def test_another_account_is_answered_before_lists_of_files_are(stack: Stack, collector: Client, path: str) -> None:
    answers = answered_beside(stack.client("other"), collector, path, LISTS)

    found = {answer.content.count(b"of-many-") for answer in answers}
    assert found == {LISTED[path]}


def test_the_page_of_files_shows_a_part_of_them_and_finds_the_others(stack: Stack, collector: Client) -> None:
    browser = stack.visitor("collector")

    page, found = browser.get("/files").text, browser.get("/files", params={"q": "29999 of-many"}).text

    assert page.count('aria-label="Delete ') == 1000
    assert f"The first 1,000 files of {FILES:,} are shown." in page
    assert found.count('aria-label="Delete ') == 1
    assert "of-many-29999" in found


def with_many_files(conn: Connection, account_id: str) -> None:
    about = {"account_id": account_id, "size": 0, "content_type": "text/plain", "created_at": 1, "named_at": 1}
    each = [
        {"id": f"{root}-{number}", "path": f"/{root}/of-many-{number}", "digest": f"{number:064}", **about}
        for root in ("input", "userdata")
        for number in range(FILES)
    ]
    conn.execute(insert(files), each)


def _with_many_results(conn: Connection, run_id: str) -> None:
    name, digest = "of-many-{}.png", "d" * 64
    made = [Output(f"{number}", name.format(number), digest, 1, "image/png", "1") for number in range(RESULTS)]
    images = [{"filename": each.name, "subfolder": "", "type": "output"} for each in made]
    shown = text_of({"outputs": {"1": {"images": images}}, "meta": {}})
    values = {"outputs": text_of(made), "node_results": shown}
    conn.execute(update(runs).where(runs.c.id == run_id).values(**values))
