"""What ComfyUI asks of web servers is written down from within, since nobody outside can read it in a tunnel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from comfyward.environments.egress_proxy import Malformed, parse_head
from comfyward.environments.learning import HOSTS, candidates
from comfyward.sandbox.inside import recorder
from tests.fakes.http import origin

FETCHES = """
import contextlib, http.client, json, os, sys, urllib.request
sys.path.insert(0, {source!r})
from comfyward.sandbox.inside import recorder
recorder.begin({record!r})
urllib.request.urlopen("{url}/by/urllib?x=1").read()
connection = http.client.HTTPConnection("{host}", {port})
connection.request("POST", "/is/no/get", b"x")
connection.getresponse().read()
os.environ["http_proxy"] = "{url}"
with contextlib.suppress(OSError):
    urllib.request.build_opener().open("http://weights.example.com/by/proxy").read()
os.environ["https_proxy"] = "{url}"
with contextlib.suppress(OSError):
    urllib.request.build_opener().open("https://weights.example.com/not/reached").read()
"""


def test_requests_are_recorded_with_their_addresses(tmp_path: Path) -> None:
    record = tmp_path / "record"
    with origin() as served:
        for path in ("/by/urllib", "/by/urllib?x=1", "/is/no/get", "http://weights.example.com/by/proxy"):
            served.put(path, b"x")
        host, _, port = served.url.removeprefix("http://").partition(":")
        source = str(Path(recorder.__file__).parents[3])
        script = FETCHES.format(source=source, record=str(record), url=served.url, host=host, port=port)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in record.read_text().splitlines()] == [
        f"{served.url}/by/urllib?x=1",
        "http://weights.example.com/by/proxy",
    ]


class Tunnelled:
    """A connection as http.client has it to a host behind a proxy."""

    default_port, host, port, _tunnel_host, _tunnel_port = 443, "127.0.0.1", 3128, "huggingface.co", 443


def test_in_a_tunnel_the_host_is_that_at_its_end() -> None:
    assert recorder._url_of(Tunnelled, b"GET /a/resolve/main/b HTTP/1.1\r\n") == (
        "https://huggingface.co/a/resolve/main/b"
    )
    assert recorder._url_of(Tunnelled, b"CONNECT huggingface.co:443 HTTP/1.0\r\n") is None
    assert recorder._url_of(Tunnelled, object()) is None


@pytest.mark.parametrize(
    ("path", "fetched", "expected"),
    [
        ("models/faces/a.onnx", ["https://huggingface.co/x/b.onnx", "https://huggingface.co/x/a.onnx"], [1, 0]),
        ("models/faces/a b.onnx", ["https://huggingface.co/x/a%20b.onnx?download=1"], [0]),
        ("models/a/a", ["https://evil.example.com/a", "http://169.254.169.254/a", "file:///a", "https://[/a"], []),
    ],
)
def test_addresses_of_a_file_are_those_that_were_asked_at_allowed_hosts(
    path: str, fetched: list[str], expected: list[int]
) -> None:
    assert candidates(path, fetched, HOSTS) == [fetched[number] for number in expected]


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ("models--lllyasviel--Annotators", "https://huggingface.co/lllyasviel/Annotators"),
        ("models--gpt2", "https://huggingface.co/gpt2"),
        ("datasets--a--b", "https://huggingface.co/datasets/a/b"),
    ],
)
def test_the_address_of_what_huggingface_hub_keeps_is_in_its_place(repository: str, expected: str) -> None:
    commit = "4" * 40
    path = f"home/.cache/huggingface/hub/{repository}/snapshots/{commit}/inner/x.pth"

    assert candidates(path, [], HOSTS) == [f"{expected}/resolve/{commit}/inner/x.pth"]
    assert candidates(path, [], ["example.com"]) == []


def test_what_the_proxy_passes_on_names_the_host_that_was_compared() -> None:
    asked = parse_head(
        b"GET http://Example.com:8080/a?b HTTP/1.1\r\nHost: other.example.com\r\nAccept: x\r\n"
        b"Connection: keep-alive\r\nProxy-Authorization: secret\r\n\r\n"
    )
    assert (asked.host, asked.port) == ("example.com", 8080)
    assert asked.head == b"GET /a?b HTTP/1.1\r\nHost: Example.com:8080\r\nConnection: close\r\nAccept: x\r\n\r\n"
    tunnel = parse_head(b"CONNECT [2001:DB8::1]:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (tunnel.host, tunnel.port, tunnel.head) == ("2001:db8::1", 443, None)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET https://example.com/ HTTP/1.1\r\n\r\n",
        b"CONNECT example.com HTTP/1.1\r\n\r\n",
        b"CONNECT a b:443 HTTP/1.1\r\n\r\n",
        b"CONNECT " + b"a" * 300 + b":443 HTTP/1.1\r\n\r\n",
        b"GET http://me@example.com/ HTTP/1.1\r\n\r\n",
        b"CONNECT \xff\xfe:443 HTTP/1.1\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_what_is_no_request_to_a_proxy(head: bytes) -> None:
    with pytest.raises(Malformed):
        parse_head(head)
