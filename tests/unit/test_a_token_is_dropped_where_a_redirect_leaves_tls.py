"""Over real TLS: a token reaches the origin that it is for, and none to which that redirects, also not the same host
without TLS."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from comfyward.files.fetch import Fetch, Limits
from comfyward.files.file_facts import FileFacts, facts_of
from comfyward.files.guard import Guard
from comfyward.files.remote_file import RemoteFile
from comfyward.files.stop import Stop
from comfyward.runs.files import Url
from tests.fakes.http import Origin, origin

TOKEN = "Bearer hf_only-for-the-first"
DATA = b"a model"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that its own key has signed, and the key, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "host.pem"
    own = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(own + made.public_bytes(Encoding.PEM))
    return path


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr("comfyward.files.remote_file._tls", lambda: context)


@pytest.fixture
def secure(certificate: Path) -> Iterator[Origin]:
    with origin(certificate=certificate) as site:
        yield site


@pytest.fixture
def other(certificate: Path) -> Iterator[Origin]:
    with origin(certificate=certificate) as site:
        yield site


@pytest.fixture
def plain() -> Iterator[Origin]:
    with origin() as site:
        yield site


@pytest.mark.usefixtures("trusted")
def test_within_its_origin_a_token_is_kept(secure: Origin, tmp_path: Path) -> None:
    secure.put("/file", DATA)
    secure.put("/model", b"", status=302, headers={"Location": "/file"})

    assert fetched(f"{secure.url}/model", tmp_path) == DATA
    assert tokens_at(secure) == {TOKEN}


@pytest.mark.usefixtures("trusted")
def test_without_tls_it_is_dropped(secure: Origin, plain: Origin, tmp_path: Path) -> None:
    secure.put("/model", b"", status=302, headers={"Location": plain.put("/file", DATA)})

    assert facts(f"{secure.url}/model").size == len(DATA)
    assert fetched(f"{secure.url}/model", tmp_path) == DATA
    assert tokens_at(secure) == {TOKEN}
    assert plain.requests, "the bytes came without TLS"
    assert tokens_at(plain) == {None}


@pytest.mark.usefixtures("trusted")
def test_at_another_port_it_is_dropped_and_back_at_its_own_sent(secure: Origin, other: Origin, tmp_path: Path) -> None:
    other.put("/back", b"", status=307, headers={"Location": secure.put("/file", DATA)})
    secure.put("/model", b"", status=302, headers={"Location": f"{other.url}/back"})

    assert fetched(f"{secure.url}/model", tmp_path) == DATA
    assert tokens_at(secure) == {TOKEN}
    assert tokens_at(other) == {None}


def test_a_certificate_that_nobody_knows_gets_no_token(secure: Origin, tmp_path: Path) -> None:
    secure.put("/model", DATA)

    assert "certificate" in str(facts(f"{secure.url}/model").problem)
    assert secure.requests == []


def remote(url: str) -> RemoteFile:
    return RemoteFile(Url(url, headers=(("Authorization", TOKEN),)), Guard.allowing(["127.0.0.1"]), 60, Stop())


def facts(url: str) -> FileFacts:
    return facts_of(remote(url))


def fetched(url: str, folder: Path) -> bytes:
    found = Fetch(remote(url), folder / "part", Limits(1 << 20, 60)).run()
    assert found is not None
    return (folder / "part").read_bytes()


def tokens_at(site: Origin) -> set[str | None]:
    return {request.headers.get("Authorization") for request in site.requests}
