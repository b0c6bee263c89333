"""A server that cannot work does not start: one line says what is wrong, a second what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.forked import Forked
from tests.servers import S3, WITH_PASSWORD, Postgres


@pytest.mark.parametrize(
    ("settings", "says", "hint"),
    [
        ({"database_url": "nonsense"}, "is not a URL", "postgresql://USER:PASSWORD@HOST/DATABASE"),
        ({"database_url": "postgresql://u@127.0.0.1:1/x"}, "cannot be used", "Check the host and the port"),
        ({"database_url": "{postgres}/absent"}, "does not exist", "Create it first"),
        ({"database_url": "{with_password}"}, "password authentication failed", "Check the user and the password"),
        ({"objects_url": "s3://absent-bucket", "objects_endpoint": "{s3}"}, "cannot be used", "Create the bucket"),
        ({"objects_url": "ftp://somewhere"}, "does not name an object store", "s3://BUCKET/PREFIX"),
        ({"larger_pools": '{"L4": "H100"}', "accelerators": "L4"}, "names pool 'H100'", "COMFYWARD_ACCELERATORS"),
        ({"default_accelerator": "L5"}, "names pool 'L5'", "COMFYWARD_ACCELERATORS"),
        ({"comfyui_version": "9.9"}, "9.9 cannot be installed by name", "0.3.75 or 0.30.0"),
        ({"comfyui": "/srv/ComfyUI", "comfyui_version": "0.30.0"}, "use one of the two", "configuration.md"),
        ({"lease_s": "soon"}, "'lease_s' is not valid", "docs/configuration.md"),
    ],
)
def test_at_the_start(
    postgres: Postgres, s3: S3, tmp_path: Path, settings: dict[str, str], says: str, hint: str
) -> None:
    secured = f"postgresql://{WITH_PASSWORD}:wrong@127.0.0.1:{postgres.port}/postgres"
    filled = {
        name: value.replace("{postgres}", postgres.url).replace("{s3}", s3.url).replace("{with_password}", secured)
        for name, value in settings.items()
    }
    filled = {"fleet": "none", "editor": "false", "port": "0", "data_dir": str(tmp_path), **filled}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COMFYWARD_")}
    environment |= {f"COMFYWARD_{name.upper()}": value for name, value in filled.items()} | s3.environment

    log = tmp_path / "server.log"
    status = Forked("serve", environment=environment, log=log).wait(60)

    told = log.read_text()
    assert status == 1, told
    error, advice = [line for line in told.splitlines() if line.startswith(("Error:", "Hint:"))]
    assert says in error
    assert hint in advice
    assert "Traceback" not in told
    assert "wrong@" not in told  # the password is not shown
