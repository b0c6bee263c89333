"""The live end-to-end test that comes with comfy-sdk, unchanged, against a comfyward with a real ComfyUI."""

import os
import subprocess
from pathlib import Path

from tests.stack.stack import Client, Stack

OPTIONS = ("-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function", "--noconftest", "-q")


def test_its_own_test_passes(real: Stack, client: Client, python_clients: Path, sdk_source: Path) -> None:
    test = sdk_source / "tests" / "integration" / "test_gateway_e2e.py"
    environment = {**os.environ, "COMFY_BASE_URL": real.url, "COMFY_API_KEY": client.key}

    command = [str(python_clients), "-m", "pytest", *OPTIONS, str(test)]
    done = subprocess.run(command, env=environment, cwd=sdk_source, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed, 1 xpassed" in done.stdout  # the xpass is a behaviour that not every server has
