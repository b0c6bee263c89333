"""Among workers that would have to load a run's models, it goes to one whose host has them in memory."""

from comfyward.dispatch.placement import Rules, Worker, match
from comfyward.runs.waiting_run import WaitingRun

RULES = Rules(affinity_wait_ms=2000, pass_ms=60_000)


def worker(name: str, *in_memory: str, cached: str = "", warm: str = "") -> Worker:
    return Worker(
        name, "L4", "default", True, frozenset(warm), cached=frozenset(cached), in_memory=frozenset(in_memory)
    )


def run(*models: str, files: str = "") -> WaitingRun:
    return WaitingRun("run", "L4", "default", 0, frozenset(models), files=frozenset(files))


def chosen(run: WaitingRun, *workers: Worker) -> list[str]:
    return [worker.id for worker, _ in match(workers, [run], [], 0, RULES).pairs]


def test_the_operators_models_are_known_by_name_and_those_of_runs_by_digest() -> None:
    assert chosen(run("a"), worker("first"), worker("second", "a"), worker("third", "b")) == ["second"]
    assert chosen(run(files="d"), worker("first", cached="d"), worker("second", "d")) == ["second"]


def test_more_of_a_runs_models_are_better() -> None:
    assert chosen(run("a", "b"), worker("one", "a"), worker("both", "a", "b"), worker("other", "b")) == ["both"]


def test_a_comfyui_that_has_them_loaded_comes_first() -> None:
    assert chosen(run("a"), worker("memory", "a"), worker("loaded", warm="a")) == ["loaded"]
