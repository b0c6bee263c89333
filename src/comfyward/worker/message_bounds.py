"""The bounds of what workers and servers tell each other. A message that is out of them is refused: a worker is a
stranger's program too.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

MAX_TEXT, MAX_MESSAGE = 200, 4000
MAX_READY = 64  # environments that a worker tells of; a server passes over more
MAX_IN_MEMORY = 400  # models that a worker's host keeps in memory
MAX_WARM = 1000  # models that its ComfyUI has loaded
MAX_FILE_NAME, MAX_PATH = 1060, 1100
MAX_BYTES = 2**53  # what JSON holds exactly

Name = Annotated[str, Meta(min_length=1, max_length=60)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
FileName = Annotated[str, Meta(max_length=MAX_FILE_NAME)]
Digest = Annotated[str, Meta(max_length=64)]
Bytes = Annotated[int, Meta(ge=0, le=MAX_BYTES)]
Number = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Seconds = Annotated[float, Meta(ge=0, le=3600)]
Message = Annotated[str, Meta(max_length=MAX_MESSAGE)]
Digests = Annotated[list[Digest], Meta(max_length=200)]
