"""A git server on loopback: git's own, behind HTTP, or plain files as any web server serves them."""

from __future__ import annotations

import functools
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

IDENTITY = {
    **{
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "a"), ("EMAIL", "a@b"))
    },
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


def git(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, **IDENTITY}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(repository: Path, files: Mapping[str, str]) -> str:
    """Commits files to a repository, which is made if it is missing. Returns the commit."""
    if not (repository / ".git").exists():
        repository.mkdir(parents=True)
        git(repository, "init", "--quiet", "--initial-branch", "main")
        git(repository, "config", "uploadpack.allowAnySHA1InWant", "true")
    for name, text in files.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(text)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "a change")
    git(repository, "update-server-info")
    return git(repository, "rev-parse", "HEAD")


@contextmanager
def git_server(root: Path, *, is_plain: bool = False) -> Iterator[str]:
    """The address of a server of the repositories below `root`. A plain one only gives out files."""
    handler = functools.partial(_Plain, directory=str(root)) if is_plain else _backend(root)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Plain(SimpleHTTPRequestHandler):
    def translate_path(self, path: str) -> str:
        """A working copy's repository is served in its place."""
        top, _, rest = path.partition("?")[0].lstrip("/").partition("/")
        return super().translate_path(f"/{top}/.git/{rest}")

    def log_message(self, *_: object) -> None:
        return


def _backend(root: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            environment = {
                **os.environ,
                **IDENTITY,
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            done = subprocess.run(["git", "http-backend"], env=environment, input=body, capture_output=True)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            return

    return Handler
