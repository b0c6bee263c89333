"""Web addresses in the forms that people write: escaped like in browsers, and without user and password.

(Source: the WHATWG URL standard, for http and https. Escapes are kept.)
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, replace
from urllib.parse import unquote, urljoin, urlsplit

import idna

OWN_PORTS = {"http": 80, "https": 443}
_AROUND = "".join(each for each in map(chr, range(0x3001)) if each <= " " or each.isspace())
_BEFORE = _AROUND + "\ufeff\u200b\u2060"  # marks that nobody sees
_PARTS = re.compile(r"(https?)://([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?", re.IGNORECASE | re.DOTALL)
_LOGIN = re.compile(r"^([a-zA-Z]+://)[^/?#]*@")
_PORT = re.compile(r":([0-9]*)$")
_NOT_IN_HOSTS = re.compile(r"[\x00-\x20\x7f#/:<>?@\[\\\]^|%]")
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]+\]")
_NOT_IN_PATHS = re.compile(r"[\x00-\x20\"<>^`{}\x7f-\U0010ffff]")
_NOT_IN_QUERIES = re.compile(r"[\x00-\x20\"'<>\x7f-\U0010ffff]")


@dataclass(frozen=True)
class Address:
    """A URL to request, with the Authorization that it held as `user:password@`."""

    url: str
    authorization: str | None = None


def parse_address(text: str) -> Address:
    """The address in a string. Raises ValueError for anything but http and https."""
    match = _PARTS.fullmatch(_tidied(text))
    if match is None:
        raise ValueError("it is not an http:// or https:// URL")
    scheme, authority, path, query, fragment = (part or "" for part in match.groups())
    login, _, host = authority.rpartition("@")
    path = _escaped(path, _NOT_IN_PATHS)
    query, fragment = _escaped(query, _NOT_IN_QUERIES), _escaped(fragment, _NOT_IN_QUERIES)
    return Address(f"{scheme.lower()}://{_host(host)}{path}{query}{fragment}", _authorization(login))


def redirected(address: Address, location: str) -> Address:
    """The address of a Location header. `location` has one character per byte, as in http.client.

    A login stays within its origin, unless the location has one of its own. Raises ValueError.
    """
    raw = location.encode("latin-1")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:  # bytes of an older character set, which the host wants to see again
        text = "".join(chr(byte) if byte < 128 else f"%{byte:02X}" for byte in raw)
    found = parse_address(urljoin(address.url, _tidied(text)))
    if found.authorization is None and origin_of(found.url) == origin_of(address.url):
        return replace(found, authorization=address.authorization)
    return found


def origin_of(url: str) -> str:
    """The scheme, host and port of a URL, equal for all its spellings. Raises ValueError."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or OWN_PORTS.get(parts.scheme)}"


def without_login(url: str) -> str:
    """An address without its login, else unchanged, so that it can be shown."""
    read = _tidied(url)
    shown = _LOGIN.sub(r"\1", read)
    return url if shown == read else shown


def _tidied(text: str) -> str:
    """Removes the whitespace of copied text. Backslashes become slashes."""
    head, mark, query = re.sub(r"[\t\r\n]", "", text.lstrip(_BEFORE).rstrip(_AROUND)).partition("?")
    return head.replace("\\", "/") + mark + query


def _escaped(text: str, unsafe: re.Pattern[str]) -> str:
    return unsafe.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)


def _host(text: str) -> str:
    port = _PORT.search(text)
    host = text[: port.start()] if port else text
    if port and port[1] and int(port[1][:6]) > 65535:
        raise ValueError("its port is above 65535")
    if not host.isascii() or "%" in host:
        host = _of_letters(unquote(host, errors="strict"))
    if not host or (_NOT_IN_HOSTS.search(host) and not _IPV6.fullmatch(host)):
        raise ValueError("its host is not the name of one")
    return host + (port[0] if port and port[1] else "")


def _of_letters(host: str) -> str:
    """The ASCII form of a host name in any script."""
    try:
        mapped = idna.uts46_remap(host, std3_rules=False, transitional=False)
    except idna.IDNAError as error:
        raise ValueError("its host is not the name of one") from error
    labels = (label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in mapped.split("."))
    return ".".join(labels)


def _authorization(login: str) -> str | None:
    user, _, password = (unquote(part) for part in login.partition(":"))
    if not user and not password:
        return None
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def password_of(authorization: str) -> str:
    """The password in a basic Authorization; empty if there is none."""
    scheme, _, coded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(coded).decode().partition(":")[2]
    except ValueError:
        return ""
