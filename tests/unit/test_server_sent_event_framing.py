"""Server-Sent Events are read line by line, and programs differ in what ends a line."""

import json

from comfyward.delivery.stream import frame


def test_no_character_of_a_name_ends_a_line() -> None:
    name = "".join(map(chr, range(0x20, 0x3000))) + "\n\r\v\f\x1c\x1d\x1e\0\U0001f468"

    lines = frame("output", {"name": name}, 7).decode().splitlines()

    assert [line.partition(": ")[0] for line in lines] == ["id", "event", "data", ""]
    assert json.loads(lines[2].removeprefix("data: ")) == {"name": name}
