"""One account that asks for packs without end keeps neither the registry nor the other accounts busy."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

from comfyward.environments.finding import shares
from comfyward.environments.finding.finder import Finder
from comfyward.environments.finding.map_files import MapFiles
from comfyward.environments.finding.registry_answers import MAX_ASKED, RegistryAnswers
from comfyward.environments.finding.shares import CLASSES_AN_HOUR, HOUR_S, Shares
from comfyward.files.guard import Guard
from tests.fakes.http import Origin, origin

PATIENCE_S = 60.0


def finder(site: Origin) -> Finder:
    registry = RegistryAnswers(site.url, Guard.allowing(["127.0.0.1"]))
    return Finder({}, registry, MapFiles(Path("/nonexistent")))


async def test_beyond_its_share_an_account_gets_what_is_known_here() -> None:
    with origin() as site:
        site.put("/comfy-nodes/Wanted/node", json.dumps({"id": "w", "latest_version": {"version": "1.0"}}).encode())
        here = finder(site)
        for start in range(0, CLASSES_AN_HOUR + MAX_ASKED, MAX_ASKED):
            await here.find("greedy", [f"X{number}" for number in range(start, start + MAX_ASKED)], {}, PATIENCE_S)

        assert len({request.path for request in site.requests}) == CLASSES_AN_HOUR
        assert await here.find("greedy", ["Wanted"], {}, PATIENCE_S) == {}
        assert (await here.find("modest", ["Wanted"], {}, PATIENCE_S))["Wanted"][0].pack == "w"
        assert (await here.find("greedy", ["Wanted"], {}, PATIENCE_S))["Wanted"][0].pack == "w"  # it is known now


async def test_an_account_has_one_question_at_a_time() -> None:
    with origin() as site:
        hold = threading.Event()
        site.put("/comfy-nodes/Slow/node", b"{}", hold=hold)
        here = finder(site)
        try:
            first = asyncio.create_task(here.find("greedy", ["Slow"], {}, PATIENCE_S))
            await asyncio.to_thread(site.asked.get)

            assert await here.find("greedy", ["Another"], {}, PATIENCE_S) == {}
            assert not site.requests_to("/comfy-nodes/Another/node")
            await here.find("modest", ["Another"], {}, PATIENCE_S)
            assert site.requests_to("/comfy-nodes/Another/node")
        finally:
            hold.set()
        await first


def test_the_share_is_there_again_after_an_hour() -> None:
    now = [0.0]
    limited = Shares(2, lambda: now[0])

    def asks(account: str) -> int:
        with limited.question(account, 5) as allowed:
            return allowed

    assert [asks("ann"), asks("ann"), asks("bob")] == [2, 0, 2]
    now[0] += HOUR_S
    assert asks("ann") == 2


def test_what_is_counted_is_bounded() -> None:
    now = [0.0]
    limited = Shares(2, lambda: now[0])
    for number in range(shares.MAX_ACCOUNTS):
        with limited.question(str(number), 1):
            pass
    now[0] += HOUR_S

    with limited.question("another", 1) as allowed:
        assert allowed == 1

    assert len(limited._asked) == 1


async def test_names_for_which_no_time_was_left_silence_the_registry_for_nobody() -> None:
    with origin() as site:
        site.put("/comfy-nodes/Forbidden/node", b"", status=403)
        here = finder(site)

        await here.find("greedy", ["Forbidden"], {}, PATIENCE_S)

        assert not here.is_registry_silent
