"""Fetches one commit of a git repository: without hooks, filters, Git LFS, submodules or logins."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from comfyward.environments.faults import last_line
from comfyward.environments.source import Git, is_commit
from comfyward.errors import SetupFailed
from comfyward.sandbox.inside import kernel

TIMEOUT_S = 600.0
QUESTION_TIMEOUT_S = 20.0  # where nothing is fetched
MAX_NAMES = 10_000
MAX_BYTES = 10 << 30  # of one file, such as that of all objects
_SAFE = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.symlinks=true"),
    *("-c", "protocol.allow=never", "-c", "protocol.http.allow=always", "-c", "protocol.https.allow=always"),
    *("-c", "submodule.recurse=false", "-c", "core.autocrlf=false", "-c", "advice.detachedHead=false"),
    *("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60", "-c", "gc.auto=0"),
)

_running: set[subprocess.Popen[str]] = set()
_ending = threading.Event()


def fetch(source: Git, target: Path) -> Git:
    """Puts the files of a commit, branch or tag into a new folder. Returns the source with the commit.

    Raises SetupFailed.
    """
    target.mkdir(parents=True)
    _git(target, "init", "--quiet")
    commit = _fetched(source, target)
    _git(target, "checkout", "--quiet", "--detach", commit)
    return Git(source.url, commit)


def head_of(url: str) -> str:
    """The newest commit of a repository's default branch. Raises SetupFailed."""
    found = _listed(url, "HEAD")
    if "HEAD" not in found:
        raise SetupFailed(f"The repository {url} has no default branch.")
    return found["HEAD"]


def tags_of(url: str) -> dict[str, str]:
    """The commits of a repository's tags, by name. Raises SetupFailed."""
    found = _listed(url, "refs/tags/*")
    peeled = {name.removesuffix("^{}"): commit for name, commit in found.items() if name.endswith("^{}")}
    return {name.removeprefix("refs/tags/"): commit for name, commit in (found | peeled).items() if "^" not in name}


def _listed(url: str, pattern: str) -> dict[str, str]:
    """The commits of a repository's names that match. Raises SetupFailed."""
    done = _try(Path("/"), "ls-remote", "--quiet", url, pattern, timeout_s=QUESTION_TIMEOUT_S)
    if done.returncode:
        raise SetupFailed(f"The repository {url} cannot be asked: {_reason(done.stderr)}")
    lines = (line.split("\t", 1) for line in done.stdout.splitlines()[:MAX_NAMES] if "\t" in line)
    return {name: commit for commit, name in lines if is_commit(commit)}


def _fetched(source: Git, target: Path) -> str:
    """The commit, fetched with its files. Servers that do not serve single commits are asked for all of them."""
    shallow = _try(target, "fetch", "--quiet", "--depth", "1", "--no-tags", source.url, source.ref)
    if shallow.returncode == 0:
        return _commit_of(target, "FETCH_HEAD")
    everything = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
    whole = _try(target, "fetch", "--quiet", source.url, *everything)
    if whole.returncode:
        raise SetupFailed(
            f"The repository {source.url} cannot be fetched: {_reason(whole.stderr)}",
            hint="Check the address. Repositories that need a login are cloned first, and added as a folder.",
        )
    names = [source.ref] if source.is_commit else [f"refs/remotes/origin/{source.ref}", f"refs/tags/{source.ref}"]
    for name in names:
        if _try(target, "rev-parse", "--quiet", "--verify", f"{name}^{{commit}}").returncode == 0:
            return _commit_of(target, name)
    kind = "commit" if source.is_commit else "branch or tag"
    raise SetupFailed(f"{source.url} has no {kind} '{source.ref}' (any more).")


def _commit_of(target: Path, name: str) -> str:
    return _git(target, "rev-parse", "--verify", f"{name}^{{commit}}").strip()


def _git(target: Path, *arguments: str) -> str:
    done = _try(target, *arguments)
    if done.returncode:
        raise SetupFailed(f"git {arguments[0]} failed: {_reason(done.stderr)}")
    return done.stdout


def _try(target: Path, *arguments: str, timeout_s: float | None = None) -> subprocess.CompletedProcess[str]:
    limit_s = TIMEOUT_S if timeout_s is None else timeout_s
    environment = {
        **{name: os.environ[name] for name in ("PATH", "https_proxy", "HTTPS_PROXY", "no_proxy") if name in os.environ},
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "GIT_LFS_SKIP_SMUDGE": "1",
    }
    command = ["git", *_SAFE, "-C", str(target), *arguments]
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=functools.partial(_limit, kernel.die_with_us()),
        )
    except FileNotFoundError as error:
        raise SetupFailed("git is not installed on this machine.", hint="Install Debian's package 'git'.") from error
    with process:
        _running.add(process)
        try:
            if _ending.is_set():
                raise SetupFailed("git was ended.")
            output, errors = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            raise SetupFailed(f"git {arguments[0]} took longer than {limit_s:.0f} s.") from error
        finally:
            _running.discard(process)
            _kill_all(process)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def end_all() -> None:
    """Kills what git does in any thread of this process, which is to end: git begins nothing more in it."""
    _ending.set()
    for each in tuple(_running):
        _kill_all(each)


def _limit(die_with_us: Callable[[], object]) -> None:
    die_with_us()
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_BYTES, MAX_BYTES))


def _kill_all(process: subprocess.Popen[str]) -> None:
    """Kills the processes that git has started too: they would go on after it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _reason(text: str) -> str:
    return last_line(text).removeprefix("fatal: ")
