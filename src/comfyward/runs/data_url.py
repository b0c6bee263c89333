"""`data:` URLs, parsed like in browsers: base64 with line breaks, without padding, and in the URL-safe alphabet.

(Source: the Fetch standard's data: URL processor, and the Infra standard's forgiving base64.)
"""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

DEFAULT_TYPE = "application/octet-stream"
_SCHEME = re.compile(r"\s*data:", re.IGNORECASE)
_BASE64 = re.compile(r"(.*);\s*base64\s*", re.IGNORECASE | re.DOTALL)
_SPACE = b" \t\n\f\r"
_FOR_URLS = bytes.maketrans(b"-_", b"+/")


def is_data_url(text: str) -> bool:
    return _SCHEME.match(text) is not None


def parse_data_url(url: str) -> tuple[str, bytes]:
    """(media type, bytes). Raises ValueError with the reason."""
    header, comma, payload = _SCHEME.sub("", url, count=1).partition(",")
    if not comma:
        raise ValueError("has no comma")
    coded = _BASE64.fullmatch(header)
    media_type = (coded[1] if coded else header).partition(";")[0].strip() or DEFAULT_TYPE
    data = unquote_to_bytes(payload)
    return media_type, _from_base64(data) if coded else data


def _from_base64(data: bytes) -> bytes:
    data = data.partition(b"#")[0].translate(_FOR_URLS, _SPACE)  # without a fragment
    data = data[: len(data) - min(2, len(data) - len(data.rstrip(b"=")))]
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError("is not valid base64") from error
