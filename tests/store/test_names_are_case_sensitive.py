"""Texts are compared letter by letter, on every database: `Cat` is not `cat`."""

from comfyward.store import files, runs
from comfyward.store.runs import RunFilter
from tests.store.conftest import Store


def test_labels(store: Store) -> None:
    store.new_run("a", labels={"client": "acme", "%": "x"})
    store.new_run("b", labels={"client": "Acme"})

    def found(**labels: str) -> list[str]:
        return [run.id for run in store.read(runs.find, store.alice.id, RunFilter(labels=labels))]

    assert found(client="acme") == ["a"]
    assert found(client="Acme") == ["b"]
    assert found(client="acm_") == []
    assert found(Client="acme") == []


def test_folders(store: Store) -> None:
    for path in ("/userdata/Workflows/a", "/userdata/workflows/b", "/userdata/workflows_/c"):
        store.write(files.put, files.new_file(store.alice.id, path, "d" * 64, 1, "x/y", 1))

    assert [file.path for file in store.read(files.find, store.alice.id, "/userdata/workflows/")] == [
        "/userdata/workflows/b"
    ]
