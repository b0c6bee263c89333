"""The browser that tests and pictures are made with: Debian's Chromium, kept from calling home."""

import shutil

# The shell is Chromium without its own windows, which take as much of the processor as most pages.
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")
BROWSER = next(filter(None, map(shutil.which, _NAMES)), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
