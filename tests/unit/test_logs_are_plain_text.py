"""Programs log for terminals; a run's log is read in a browser, in JSON, in a file."""

import time

import pytest

from comfyward.runs.log import plain
from comfyward.worker.failures import failure_of_error


@pytest.mark.parametrize(
    ("logged", "read"),
    [
        ("\x1b[32mgreen\x1b[0m and \x1b[1;38;5;208mbold\x1b[m", "green and bold"),
        ("\x1b]0;a title\x07text \x1b]8;;https://x\x1b\\link\x1b]8;;\x1b\\", "text link"),
        ("\x1b]0;never ends\nthe next line", "0;never ends\nthe next line"),
        ("\r  0%|    | 0/2\r 50%|#   | 1/2\r100%|####| 2/2\ndone", "100%|####| 2/2\ndone"),
        (" 50%|##  |\r", " 50%|##  |"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("\x1b[2K\rcleared \x1b[1A\x1b[Kup", "cleared up"),
        ("|\b/\b-\bdone", "done"),
        ("\b\bstart", "start"),
        ("a\0b\x07c\x9bd\x85e\tf", "abcde\tf"),
        ("\x1b(Bcharset \x1b7saved\x1b", "charset saved"),
        ("naïve ✓ 日本\U0001f600", "naïve ✓ 日本\U0001f600"),
        ("[32m is no escape", "[32m is no escape"),
    ],
)
def test_logs_are_reduced_to_text(logged: str, read: str) -> None:
    assert plain(logged) == read


@pytest.mark.parametrize("piece", ["a", "\b", "a\b", "\r", "\x1b", "\x1b]", "\x1b[", "\x9d", "\x1b]a", "1;", "\n"])
def test_cleaning_a_log_takes_linear_time(piece: str) -> None:
    began = time.process_time()

    plain(piece * (1 << 18))

    assert time.process_time() - began < 2  # it is a matter of milliseconds, or of hours


def test_node_error_messages_are_cleaned_too() -> None:
    error = {"exception_message": "\x1b[31mno key\x1b[0m 'a'\0\n", "traceback": ['\x1b[1m  File\x1b[0m "x.py"\n']}

    _, failure = failure_of_error(error, {})

    assert (failure.message, failure.traceback) == ("no key 'a'", ['  File "x.py"\n'])
