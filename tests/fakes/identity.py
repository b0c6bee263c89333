"""An identity provider for tests: OpenID Connect's discovery, authorization, token and keys, with real signatures."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.fakes.http import STOP_POLL_S


@dataclass
class Provider:
    """Lets `user` in without asking. `tampered` changes the claims of its tokens; `wrong_key` signs with another."""

    url: str
    user: dict[str, Any] = field(default_factory=lambda: {"sub": "42", "email": "alice@example.com"})
    tampered: dict[str, Any] = field(default_factory=dict)
    wrong_key: bool = False
    codes: dict[str, dict[str, str]] = field(default_factory=dict)


KEY, OTHER_KEY = (RSAKey.generate_key(2048, {"kid": "one"}) for _ in range(2))


@contextmanager
def provider() -> Iterator[Provider]:
    served: list[Provider] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here, path = served[0], urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(path.query).items()}
            match path.path:
                case "/.well-known/openid-configuration":
                    places = {f"{name}_endpoint": f"{here.url}/{name}" for name in ("authorization", "token")}
                    self._answer({"issuer": here.url, "jwks_uri": f"{here.url}/keys", **places})
                case "/keys":
                    self._answer({"keys": [KEY.as_dict(private=False)]})
                case "/authorization":
                    here.codes["code"] = query
                    back = f"{query['redirect_uri']}?{urlencode({'code': 'code', 'state': query['state']})}"
                    self.send_response(302)
                    self.send_header("Location", back)
                    self.end_headers()

        def do_POST(self) -> None:
            here = served[0]
            form = {k: v[0] for k, v in parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).items()}
            asked = here.codes.pop(form["code"], None)
            challenge = hashlib.sha256(form["code_verifier"].encode()).digest()
            if asked is None or _text(challenge) != asked["code_challenge"] or form["client_secret"] != "hush":
                return self._answer({"error": "invalid_grant"}, 400)
            about = {"iss": here.url, "aud": asked["client_id"], "nonce": asked["nonce"], "exp": int(time.time()) + 60}
            claims = {**about, **here.user, **here.tampered}
            key = OTHER_KEY if here.wrong_key else KEY
            return self._answer({"id_token": jwt.encode({"alg": "RS256", "kid": "one"}, claims, key)})

        def _answer(self, body: dict[str, Any], status: int = 200) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(STOP_POLL_S,), daemon=True).start()
        served.append(Provider(f"http://127.0.0.1:{server.server_address[1]}"))
        yield served[0]
        server.shutdown()


def _text(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
