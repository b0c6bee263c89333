"""A worker waits for a server that is away, for however long, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest
from click.testing import CliRunner

from comfyward.cli.main import cli
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.worker import link as links
from comfyward.worker.link import ServerLink
from comfyward.worker.protocol import PROTOCOL, Hello, WorkerInfo
from comfyward.worker.registration import registered

HELLO = Hello(WorkerInfo("w", "1", "CPU", DEFAULT_ENVIRONMENT, "CPU", "h", "off", {}), "d" * 64, PROTOCOL)
TRIES = 1100  # 2 ** 1024 is more than a float holds


async def test_it_goes_on_after_any_number_of_tries_and_then_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(links, "LONGEST_PAUSE_S", 0.0)
    drained = asyncio.Event()

    class Stop(logging.Handler):
        """Drains the worker once it has tried often enough."""

        tries = 0

        def emit(self, record: logging.LogRecord) -> None:
            self.tries += "no answer from the server" in record.getMessage()
            if self.tries == TRIES:
                drained.set()

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        link, stop = ServerLink(f"http://127.0.0.1:{taken.getsockname()[1]}", "token"), Stop()
        logging.getLogger(links.__name__).addHandler(stop)
        try:
            assert await registered(link, HELLO, drained) is None
        finally:
            logging.getLogger(links.__name__).removeHandler(stop)
            await link.close()

    assert stop.tries >= TRIES


@pytest.mark.parametrize("command", [("worker",), ("fleet", "ray")])
def test_an_address_without_a_scheme_is_refused(command: tuple[str, ...]) -> None:
    told = CliRunner().invoke(cli, [*command, "--server", "127.0.0.1:8600", "--token", "t"])

    assert told.exit_code == 2
    assert "127.0.0.1:8600 has no http:// or https://" in told.output
