"""A second server would take the first one's workers for its own, so it does not start."""

import pytest

from tests.stack.conftest import StartFake
from tests.stack.stack import Stack


def test_one_data_directory_has_one_server(start_fake: StartFake) -> None:
    first = start_fake()

    with pytest.raises(AssertionError, match="A server is running in"):
        Stack(first.data_dir, first.settings).start()
    assert first.client().http.get("/healthz").status_code == 200
