"""The sentence in a host's refusal, and how long it asks to wait."""

import datetime

import pytest

from comfyward.files.refusal import MAX_LENGTH, sentence_of, wait_of

NOW = datetime.datetime(2026, 11, 26, 12, 0, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", ""),
        (b"Request has expired", "Request has expired"),
        (
            b"<Error><Code>AccessDenied</Code><Message>Request has &lt;expired&gt;</Message></Error>",
            "Request has <expired>",
        ),
        (b'{"error": "invalid token"}', "invalid token"),
        (b'{"error": {"code": 429, "message": "Rate limit\\nreached"}}', "Rate limit reached"),
        (b'{"errors": [{"detail": "gone"}]}', "gone"),
        (b'{"Message": "Access Denied", "status": 403}', "Access Denied"),
        (b'{"code": 7}', ""),
        (b'{"broken', '{"broken'),
        (b"[" * 100_000, "[" * MAX_LENGTH + "…"),
        (b"<!DOCTYPE html><html><head><title>403 Forbidden</title><style>b{}</style></head></html>", "403 Forbidden"),
        (b"<html><body><script>x()</script><h1>No &amp; never</h1></body></html>", "No & never"),
        (b"<?xml version='1.0'?><a><b>7</b></a>", ""),
        (b"line\r\n\0\x1b[31mtwo\xff", "line [31mtwo \ufffd".replace(" \ufffd", "\ufffd")),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0\0\0\1\0\x08\x06\0\0\0\x5c\x72\xa8\x66", ""),
        (b"x" * 10_000, "x" * MAX_LENGTH + "…"),
    ],
)
def test_the_message_of_a_refusal(body: bytes, sentence: str) -> None:
    assert sentence_of(body) == sentence


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("1.5", 1.5),
        ("Thu, 26 Nov 2026 12:02:00 GMT", 120.0),
        ("Thursday, 26-Nov-26 12:02:00 GMT", 120.0),
        ("Thu Nov 26 12:02:00 2026", 120.0),
        ("Thu, 26 Nov 2026 11:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_parsed(header: str | None, wait_s: float | None) -> None:
    assert wait_of(header, NOW) == wait_s
