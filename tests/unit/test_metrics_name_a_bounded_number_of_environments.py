"""However many environments there are, a bounded number has metrics of its own, and the others are counted together."""

from __future__ import annotations

from prometheus_client import generate_latest

from comfyward.api.environment_metrics import Figures, of_rows
from comfyward.metrics import MOST_ENVIRONMENTS, OTHERS, EnvironmentNames
from comfyward.store.environments import Standing
from comfyward.store.trials import Present


def present(worker: str, digest: str, state: str) -> Present:
    return Present(worker, "CPU", digest, state, 0)


def test_states_of_the_current_and_the_newest_revision_are_counted_at_workers() -> None:
    standing = Standing(1, {1: {"linux": "one"}, 2: {"linux": "two"}}, frozenset({2}))
    workers = [present("a", "one", "ready"), present("b", "one", "ready"), present("a", "two", "building")]

    text = generate_latest(of_rows(Figures({"portraits": 3}, {}, {"portraits": standing}, workers))).decode()

    for line in (
        'environment_queue_length{environment="portraits"} 3.0',
        'environment_queue_length{environment="default"} 0.0',
        'environment_workers{environment="portraits",revision="current",state="ready"} 2.0',
        'environment_workers{environment="portraits",revision="newest",state="building"} 1.0',
    ):
        assert line in text, text


def test_those_beyond_the_bound_are_counted_together() -> None:
    many = {f"e{number:04}": 1 for number in range(MOST_ENVIRONMENTS + 50)}

    text = generate_latest(of_rows(Figures(many, {}, {}, []))).decode()
    names = EnvironmentNames()
    labels = {names.label(name) for name in many}

    lines = [line for line in text.splitlines() if line.startswith("comfyward_environment_queue_length{")]
    assert len(lines) == MOST_ENVIRONMENTS + 1
    assert f'{{environment="{OTHERS}"}} 51.0' in text
    assert len(labels) == MOST_ENVIRONMENTS + 1
    assert (names.label("e0000"), names.label("new")) == ("e0000", OTHERS)
