"""Programs that take more than they may, for tests of limits."""

from __future__ import annotations

MIB = 1 << 20


# Starts a hundred processes, or as many as it may, and tells how many.
PROCESSES = """
import os, signal, time
children = []
def bomb():
    for _ in range(100):
        child = os.fork()
        if child == 0:
            time.sleep(600)
        children.append(child)
attempt("processes", bomb)
for child in children:
    os.kill(child, signal.SIGKILL)
found["children"] = len(children)
"""


def many_processes(each_mib: int) -> str:
    """Four processes, each of which holds so much memory."""
    return f"""
import os, time
for _ in range(4):
    if os.fork() == 0:
        held = bytearray({each_mib * MIB})
        for page in range(0, len(held), 4096):
            held[page] = 1
        time.sleep(600)
time.sleep(600)
"""
