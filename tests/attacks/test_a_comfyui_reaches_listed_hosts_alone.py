"""A ComfyUI whose code is hostile tries every way out of an environment that may reach one host."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.attacks.attacked import Attacked, attacked
from tests.attacks.changing_names import ChangingNames
from tests.fakes.http import Origin, origin

LISTED, OTHER = "127.0.0.2", "127.0.0.3"

ASK = """
import http.client, json, os, socket, ssl, urllib.request
proxy = ("127.0.0.1", 3128)

def get(url):
    with urllib.request.urlopen(url, timeout=100) as answer:
        return answer.read().decode()

def raw(text):
    with socket.create_connection(proxy, timeout=100) as made:
        made.sendall(text.encode())
        said = b""
        while piece := made.recv(65536):
            said += piece
        return said.decode(errors="replace")

def said(act):
    try:
        return act()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
"""


@pytest.fixture(params=["root", "nobody"])
def worker(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    yield from attacked("bubblewrap", request.param)


@pytest.fixture
def listed() -> Iterator[Origin]:
    with origin(LISTED) as served:
        served.put("/hello", b"hello")
        yield served


@pytest.fixture
def other() -> Iterator[Origin]:
    with origin(OTHER) as served:
        served.put("/secret", b"secret")
        yield served


def _port(served: Origin) -> int:
    return int(served.url.rpartition(":")[2])


def test_one_host_is_reached_and_counted_and_no_other(worker: Attacked, listed: Origin, other: Origin) -> None:
    listed.put("/moved", b"", status=302, headers={"Location": f"{other.url}/secret"})
    host, port, hidden = LISTED, _port(listed), _port(other)
    attack = f"""{ASK}
found["listed"] = get("{listed.url}/hello")
found["tunnel"] = raw("CONNECT {host}:{port} HTTP/1.1\\r\\n\\r\\nGET /hello HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n")
found["another host in the tunnel"] = raw(
    "CONNECT {host}:{port} HTTP/1.1\\r\\n\\r\\nGET /hello HTTP/1.0\\r\\nHost: {OTHER}:{hidden}\\r\\n\\r\\n"
)
found["other"] = said(lambda: get("{other.url}/secret"))
found["tunnel to other"] = raw("CONNECT {OTHER}:{hidden} HTTP/1.1\\r\\n\\r\\n")
found["other port"] = raw("CONNECT {host}:{hidden} HTTP/1.1\\r\\n\\r\\n")
found["redirect"] = said(lambda: get("{listed.url}/moved"))
found["second request"] = raw(
    "GET http://{host}:{port}/hello HTTP/1.1\\r\\nConnection: keep-alive\\r\\n\\r\\n"
    "GET http://{OTHER}:{hidden}/secret HTTP/1.1\\r\\n\\r\\n"
)
found["smuggled"] = raw("GET http://{host}:{port}@{OTHER}:{hidden}/secret HTTP/1.1\\r\\n\\r\\n")
found["no proxy request"] = raw("GET /hello HTTP/1.1\\r\\nHost: {OTHER}:{hidden}\\r\\n\\r\\n")
found["mapped"] = raw("CONNECT [::ffff:{OTHER}]:{hidden} HTTP/1.1\\r\\n\\r\\n")
found["decimal"] = raw("CONNECT 2130706435:{hidden} HTTP/1.1\\r\\n\\r\\n")
found["another name"] = raw(
    "GET http://{host}:{port}/hello HTTP/1.1\\r\\nHost: {OTHER}:{hidden}\\r\\n"
    "Proxy-Authorization: Basic eA==\\r\\n\\r\\n"
)
"""
    [found] = worker.run(attack, egress=([f"{host}:{port}"], ["127.0.0.0/8"]))

    assert found["listed"] == "hello"
    assert str(found["another host in the tunnel"]).endswith("hello")
    assert str(found["tunnel"]).startswith("HTTP/1.1 200 Connection established")
    assert str(found["tunnel"]).endswith("hello")
    refused = f"The environment may not reach {OTHER}:{hidden}"
    assert found["other"] == f"HTTPError: HTTP Error 403: {refused}"
    assert f"HTTP/1.1 403 {refused}" in str(found["tunnel to other"])
    assert "add the host to 'egress'" in str(found["tunnel to other"])
    assert f"403 The environment may not reach {host}:{hidden}" in str(found["other port"])
    assert found["redirect"] == f"HTTPError: HTTP Error 403: {refused}"
    for name in ("second request", "smuggled", "no proxy request", "mapped", "decimal"):
        assert "secret" not in str(found[name]).replace("/secret", ""), name
    assert other.requests == []
    assert str(found["another name"]).endswith("hello")
    sent = [(name.lower(), value) for name, value in listed.requests[-1].pairs]
    assert [value for name, value in sent if name == "host"] == [f"{host}:{port}"]
    assert "proxy-authorization" not in dict(sent)
    assert f"[comfyward] {refused}." in str(found["log"])
    reached = found["reached"]
    assert isinstance(reached, dict)
    assert reached[f"{host}:{port}"]["connections"] >= 3
    assert reached[f"{host}:{port}"]["received_bytes"] > 10
    assert reached[f"{OTHER}:{hidden}"]["refused"] >= 3
    assert reached[f"{OTHER}:{hidden}"]["received_bytes"] == 0


def test_a_listed_name_that_leads_to_a_private_address_is_refused(worker: Attacked, other: Origin) -> None:
    with origin() as private:  # as a name server would say that has changed its mind
        private.put("/secret", b"secret")
        port = _port(private)
        attack = f"""{ASK}
found["rebound"] = raw("CONNECT localhost:{port} HTTP/1.1\\r\\n\\r\\n")
found["by http"] = said(lambda: raw("GET http://localhost:{port}/secret HTTP/1.1\\r\\n\\r\\n"))
"""
        [found] = worker.run(attack, egress=([f"localhost:{port}"], []))

    for name in ("rebound", "by http"):
        assert "403 The address of 'localhost'" in str(found[name])
        assert "is private or reserved" in str(found[name])
    assert private.requests == []
    assert other.requests == []


def test_a_listed_name_whose_address_changes_is_asked_anew(worker: Attacked, listed: Origin) -> None:
    names, port = ChangingNames.below(worker.folder), _port(listed)
    names.say("listed.test", [LISTED], [OTHER], [f"::ffff:{OTHER}"], [OTHER, LISTED])
    tunnel = f"CONNECT listed.test:{port} HTTP/1.1\\r\\n\\r\\nGET /hello HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n"
    with socket.create_server((OTHER, port)) as private:
        attack = f"""{ASK}
found["answers"] = [raw("{tunnel}"), *(said(lambda: get("http://listed.test:{port}/hello")) for _ in range(3))]
"""
        egress = ([f"listed.test:{port}"], [LISTED])
        [found] = worker.run(attack, egress=egress, imported=names.folder)

        answers = found["answers"]
        assert isinstance(answers, list)
        refused = "HTTPError: HTTP Error 403: The address of 'listed.test' ({}) is private or reserved"
        assert answers[0].endswith("hello")
        assert answers[1:] == [refused.format(OTHER), refused.format(f"::ffff:{OTHER}"), "hello"]
        private.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has connected
            private.accept()


DIRECT = """
import socket
def reach(family, kind, address):
    with socket.socket(family, kind) as made:
        made.settimeout(2)
        made.connect(address)
        made.send(b"harm")
        return "sent"
attempt("tcp", lambda: reach(socket.AF_INET, socket.SOCK_STREAM, ("{host}", {port})))
attempt("udp", lambda: reach(socket.AF_INET, socket.SOCK_DGRAM, ("{host}", {udp})))
attempt("tcp6", lambda: reach(socket.AF_INET6, socket.SOCK_STREAM, ("::1", {port6})))
attempt("unix", lambda: reach(socket.AF_UNIX, socket.SOCK_STREAM, "{unix}"))
attempt("name", lambda: socket.getaddrinfo("example.com", 443) and "found")
"""


def test_there_is_no_way_beside_the_door(worker: Attacked, listed: Origin) -> None:
    arrived: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket(socket.AF_INET6) as tcp6:
        udp.bind((LISTED, 0))
        udp.settimeout(0.1)
        tcp6.bind(("::1", 0))
        tcp6.listen()
        path = str(worker.folder / "open.sock")
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(path)
            unix.listen()
            attack = DIRECT.format(
                host=LISTED, port=_port(listed), udp=udp.getsockname()[1], port6=tcp6.getsockname()[1], unix=path
            )
            [found] = worker.run(attack, egress=([f"{LISTED}:{_port(listed)}"], ["127.0.0.0/8"]))
        try:
            arrived.append(udp.recv(100))
        except TimeoutError:
            pass

    for name in ("tcp", "tcp6", "unix", "name"):
        assert str(found[name]).startswith("refused: "), (name, found[name])
    assert arrived == []  # of the datagram nobody tells where it went
    assert listed.requests == []


def test_without_a_list_there_is_no_door(worker: Attacked, listed: Origin) -> None:
    attack = f"""{ASK}
attempt("door", lambda: socket.create_connection(proxy, timeout=5) and "open")
attempt("listed", lambda: get("{listed.url}/hello"))
found["variables"] = sorted(name for name in os.environ if "proxy" in name.lower())
"""
    [found] = worker.run(attack)

    assert str(found["door"]).startswith("refused: ConnectionRefusedError")
    assert str(found["listed"]).startswith("refused: ")
    assert found["variables"] == []
    assert listed.requests == []


def test_many_connections_are_passed_on_one_after_the_other(worker: Attacked, listed: Origin) -> None:
    """More than the proxy passes at once."""
    attack = f"""{ASK}
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(70) as pool:
    found["answers"] = sorted(set(pool.map(get, ["{listed.url}/hello"] * 70)))
"""
    [found] = worker.run(attack, egress=([f"{LISTED}:{_port(listed)}"], ["127.0.0.0/8"]))

    assert found["answers"] == ["hello"]
    assert len(listed.requests_to("/hello")) == 70


def test_landlock_knows_no_hosts_so_that_none_is_reached(listed: Origin) -> None:
    for worker in attacked("landlock", "nobody"):
        attack = f"""{ASK}
attempt("door", lambda: socket.create_connection(proxy, timeout=5) and "open")
attempt("listed", lambda: get("{listed.url}/hello"))
"""
        [found] = worker.run(attack, egress=([f"{LISTED}:{_port(listed)}"], ["127.0.0.0/8"]))

        assert str(found["door"]).startswith("refused: ")
        assert str(found["listed"]).startswith("refused: ")
        assert "[comfyward] No host is reached from here" in str(found["log"])
    assert listed.requests == []
