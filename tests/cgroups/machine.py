"""A machine for the scenarios of cgroups, which few hosts delegate: `scripts/test cgroups` starts it.

It is Linux as a program (user-mode-linux), which needs neither rights nor KVM. It has this host's files, read only,
folders in memory to write to, no network, and cgroups of version 2. It runs one command and ends.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent
MEMORY = "2G"
TIMEOUT_S = 1200
DONE = "the machine ends with status "
VARIABLE = "COMFYWARD_CGROUPS_MACHINE"
PYTEST = [sys.executable, "-m", "pytest", "tests/cgroups", "-v"]
PYTEST += ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]  # they write into the repository

FIRST_PROCESS = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/shm && mount -t tmpfs shm /dev/shm
for folder in /tmp /run /root/.cache; do [ -d $folder ] && mount -t tmpfs -o mode=1777 tmpfs $folder; done
ip link set lo up
export {variable}=1 PATH={path} HOME=/tmp LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
cd {repository}
{command} </dev/null
echo "{done}$?"
echo o > /proc/sysrq-trigger
sleep 60
"""


def main(command: list[str]) -> int:
    """Runs the command in the machine, shows what it writes, and returns its exit status."""
    script = FIRST_PROCESS.format(
        variable=VARIABLE,
        path=os.environ["PATH"],
        repository=shlex.quote(str(REPOSITORY)),
        command=shlex.join(command),
        done=DONE,
    )
    with tempfile.NamedTemporaryFile("w", prefix="cw-first-", delete=False) as file:
        file.write(script)
    try:
        Path(file.name).chmod(0o755)
        return _status_of(Path(file.name))
    finally:
        Path(file.name).unlink()


def _status_of(first: Path) -> int:
    status = 1
    ends_with_us = ["setpriv", "--pdeathsig", "TERM", "timeout", "-k", "5", str(TIMEOUT_S)]
    machine = [*ends_with_us, "linux.uml", f"mem={MEMORY}", "rootfstype=hostfs", "rootflags=/", "ro"]
    machine += [f"init={first}", "con=null", "con0=null,fd:1", "quiet"]
    with subprocess.Popen(machine, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        assert run.stdout is not None
        for line in run.stdout:
            text = line.decode(errors="replace").rstrip()
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
            if text.startswith(DONE):
                status = int(text.removeprefix(DONE))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or PYTEST))
