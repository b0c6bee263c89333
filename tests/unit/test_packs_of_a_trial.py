"""The result of each pack, from ComfyUI's catalog and its list of import times; and which faults are worth a wait."""

from __future__ import annotations

import pytest

from comfyward.environments.faults import may_pass
from comfyward.errors import ComfywardError, FetchFailed, FetchRefused, HostBusy, InvalidEnvironment, SetupFailed
from comfyward.worker.environment_reports import PackTrial
from comfyward.worker.trial import packs_in

LOG = """
Import times for custom nodes:
   0.0 seconds: /data/worker/comfyui-3/source/custom_nodes/rgthree.comfy
   1.5 seconds (IMPORT FAILED): /data/worker/comfyui-3/source/custom_nodes/Easy-Use
   0.0 seconds: /data/worker/comfyui-3/source/custom_nodes/late
   0.2 seconds (IMPORT FAILED): /data/worker/comfyui-3/source/custom_nodes/silent
"""
TRACE = """Traceback (most recent call last):
  File "nodes.py", line 2157, in load_custom_node
    module_spec.loader.exec_module(module)
  File "custom_nodes/Easy-Use/__init__.py", line 4, in <module>
    from .py import config
  File "custom_nodes/Easy-Use/py/config.py", line 23, in <module>
    os.mkdir(folder)
  File "/usr/lib/python3.11/os.py", line 225, in makedirs
    mkdir(name, mode)
OSError: [Errno 30] Read-only file system: 'wildcards'
"""
STARTUP = 'File "custom_nodes/late/prestartup_script.py", line 1, in <module>\nValueError: no\n'


def node(module: str) -> dict[str, object]:
    return {"input": {}, "python_module": module}


CATALOG = {
    "nodes": {
        "Seed": node("custom_nodes.rgthree.comfy"),
        "Any": node("custom_nodes.rgthree.comfy"),
        "Late": node("custom_nodes.late"),
        "KSampler": node("nodes"),
        "Odd": {},
    },
    "failures": [
        {"name": "Easy-Use", "kind": "pack", "error": "OSError: [Errno 30] Read-only file system", "traceback": TRACE},
        {"name": "late", "kind": "pack", "error": "ValueError: no", "traceback": STARTUP},
        {"name": "rgthree.comfy", "kind": "class", "error": "KeyError: 1", "traceback": ""},
    ],
}


def tried(folder: str) -> PackTrial:
    (found,) = packs_in([folder], CATALOG, LOG)
    return found


@pytest.mark.parametrize("level", ["", "[INFO] "])
def test_the_list_of_times_is_read_as_earlier_and_later_releases_write_it(level: str) -> None:
    log = LOG.replace("   ", f"{level}   ")

    (broken, silent) = packs_in(["Easy-Use", "silent"], CATALOG, log)
    assert (broken.seconds, silent.seconds, silent.imported) == (1.5, 0.2, False)


def test_a_pack_that_was_imported_names_its_classes() -> None:
    assert tried("rgthree.comfy") == PackTrial("rgthree.comfy", imported=True, classes=["Any", "Seed"])


def test_a_pack_that_failed_names_its_own_file_and_line() -> None:
    found = tried("Easy-Use")

    assert (found.imported, found.seconds) == (False, 1.5)
    first, *lines = found.error.splitlines()
    assert first == "OSError: [Errno 30] Read-only file system (Easy-Use/py/config.py, line 23)"
    assert lines[-1] == "OSError: [Errno 30] Read-only file system: 'wildcards'"


def test_a_startup_script_that_fails_is_told_but_the_pack_works() -> None:
    found = tried("late")

    assert (found.imported, found.classes) == (True, ["Late"])
    assert found.error.startswith("ValueError: no (late/prestartup_script.py, line 1)")


@pytest.mark.parametrize(("folder", "error"), [("silent", "gives no reason"), ("absent", "did not try to load it")])
def test_a_pack_that_is_not_there_fails_even_if_nobody_says_why(folder: str, error: str) -> None:
    found = tried(folder)

    assert not found.imported
    assert error in found.error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (FetchFailed("'cdn' answered 503.", http_status=503), True),
        (FetchFailed("'cdn' answered 404.", http_status=404), False),
        (FetchFailed("The host 'cdn' cannot be found.", host="cdn"), True),
        (FetchFailed("The download from 'cdn' broke off: reset."), True),
        (FetchRefused("'10.0.0.1' is a private address.", host="10.0.0.1"), False),
        (HostBusy("'cdn' asks to wait."), True),
        (SetupFailed("The repository x cannot be fetched: Failed to connect to 127.0.0.1 port 9"), True),
        (SetupFailed("The repository x cannot be fetched: Could not resolve host: github.com"), True),
        (SetupFailed("The repository x cannot be fetched: The requested URL returned error: 503"), True),
        (SetupFailed("The repository x cannot be fetched: repository 'http://h/x/' not found"), False),
        (SetupFailed("git fetch took longer than 600 s."), True),
        (SetupFailed("Installing the packages failed:\nerror sending request for url (https://h/simple/torch/)"), True),
        (SetupFailed("Installing the packages failed:\nHTTP status server error (502 Bad Gateway) for url"), True),
        (SetupFailed("Installing the packages failed:\nHTTP status client error (404 Not Found) for url"), False),
        (SetupFailed("Installing the packages failed:\nHash mismatch for `numpy==2.3.5`"), False),
        (SetupFailed("x has the digest ab, but the lock says cd: the files have changed at their source."), False),
        (InvalidEnvironment("pack.zip is not a zip archive that can be read: timed out"), False),
    ],
)
def test_only_faults_of_the_network_are_worth_a_wait(error: ComfywardError, passes: bool) -> None:
    assert may_pass(error) is passes
