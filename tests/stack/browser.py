"""The browser that tests and pictures are made with: Debian's Chromium, kept from calling home."""

import shutil

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
