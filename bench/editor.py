"""Cost of opening ComfyUI's editor in a browser: `python -m bench.editor`.

Starts a server with the real ComfyUI, opens a workflow in Chromium with an empty cache, then a second one in the same
browser, and repeats both over a connection of 10 Mb/s. Prints the bytes over the wire, the requests, the time until the
first node is drawn, and the CPU time of the page's main thread, which does not depend on the load of the machine.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import BrowserContext, CDPSession, Page, sync_playwright

from comfyward.server_settings import default_data_dir
from tests.stack.browser import BROWSER, FLAGS
from tests.stack.graphs import picture
from tests.stack.stack import Stack

LIMIT_MS = 120_000
TEN_MEGABITS = 10_000_000 / 8
IS_DRAWN = "() => document.querySelector('[data-editor]')?.contentWindow?.app?.canvas?.visible_nodes?.length > 0"
IS_LOADED = "() => document.body.dataset.loaded === 'true'"


@dataclass(frozen=True)
class Opened:
    """One opening of the editor until the first node is drawn; `bytes` are over the wire, with headers."""

    bytes: int
    requests: int
    seconds: float
    computed: float


def open_editor(page: Page, url: str, bytes_per_s: float = -1) -> Opened:
    """Opens an editor's page, with its frame at the website's origin, so that one process and session have both.

    `bytes_per_s` limits the connection, -1 does not.
    """
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    session.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": bytes_per_s, "uploadThroughput": bytes_per_s},
    )
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    began, computed = time.perf_counter(), computed_by(session)
    page.goto(url, wait_until="commit")
    page.wait_for_function(IS_DRAWN, polling="raf", timeout=LIMIT_MS)
    seconds, computed = time.perf_counter() - began, computed_by(session) - computed
    page.wait_for_function(IS_LOADED, timeout=LIMIT_MS)
    page.wait_for_load_state("networkidle")
    session.detach()
    return Opened(int(sum(sizes)), len([size for size in sizes if size]), seconds, computed)


def computed_by(session: CDPSession) -> float:
    """The CPU time of the page's main thread in seconds."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "ThreadTime"))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="cw-editor-") as folder:
        stack = Stack(Path(folder), {"environments_dir": str(default_data_dir() / "environments")})
        try:
            measure(stack.start().wait_ready())
        finally:
            stack.close()


def measure(stack: Stack) -> None:
    client = stack.client("bench")
    made = [
        client.http.post("/api/v1/workflows", json={"name": f"Workflow {number}", "prompt": picture()}).json()["id"]
        for number in range(2)
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        print(f"{'':32} {'bytes':>12} {'requests':>9} {'first node s':>13} {'computed s':>11}")
        for line, speed in (("loopback", -1.0), ("10 Mb/s", TEN_MEGABITS)):
            context = browser.new_context(base_url=stack.url)
            page = entered(context, stack)
            for what, workflow in zip(("empty cache", "next workflow"), made, strict=True):
                report(f"{line}, {what}", open_editor(page, f"/workflows/{workflow}/edit?frame=here", speed))
            context.close()
        browser.close()


def entered(context: BrowserContext, stack: Stack, account: str = "bench") -> Page:
    page = context.new_page()
    page.goto(stack.login_link(account))
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/workflows")
    return page


def report(name: str, opened: Opened) -> None:
    print(f"{name:32} {opened.bytes:12,} {opened.requests:9} {opened.seconds:13.1f} {opened.computed:11.1f}")


if __name__ == "__main__":
    main()
