"""comfyward serve"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import uvloop

from comfyward.api.native.bundle import Bundle
from comfyward.api.native.frontend import Frontends, static_of, templates_of
from comfyward.cli.comfyui_setup import absent_folders, ensure_installed
from comfyward.cli.options import Choice, Whole, data_dir_option, set_up_logging, settings_from
from comfyward.comfy import install
from comfyward.comfy.releases import DEFAULT, RELEASES, Release, release_of
from comfyward.environments.finding.map_files import MapFiles
from comfyward.errors import SetupFailed
from comfyward.server.listening import check_addresses
from comfyward.server.running import Started, serve
from comfyward.settings import Settings

log = logging.getLogger(__name__)


@click.command("serve")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=Whole(0, 65535), help="Port to listen on.  [default: 8600]")
@data_dir_option
@click.option(
    "--comfyui", type=click.Path(path_type=Path, exists=True), help="Use this ComfyUI instead of installing one."
)
@click.option("--comfyui-version", help="The release to install and use.  [default: the installed one]")
@click.option("--fleet", type=Choice(["local", "none"]), help="local: a worker per GPU here; none: they join.")
@click.option("--native-port", type=Whole(0, 65535), help="ComfyUI's own API and editor at the root of this port too.")
@click.option(
    "--native-open",
    is_flag=True,
    default=None,
    help="Let this machine use the native port as the admin, without a key.",
)
@click.option("--log-level", type=Choice(["debug", "info", "warning", "error"]))
def command(**flags: Any) -> None:
    """Start the server and its local workers.

    \b
    comfyward serve
    comfyward serve --host 0.0.0.0 --port 80 --data-dir /srv/comfyward
    comfyward serve --comfyui ~/ComfyUI
    comfyward serve --native-port 8188 --native-open     # ComfyUI's own API and editor, for this machine

    Every setting has an environment variable COMFYWARD_<NAME>: see docs/configuration.md.
    """
    settings = settings_from(**flags)
    set_up_logging(settings.log_level, settings.log_format)
    check_addresses(settings)
    release = _release(settings)
    _fetch_node_map(settings)
    click.echo("Starting the server")
    uvloop.run(serve(settings, _frontends(settings, release), _greet))


def _release(settings: Settings) -> Release:
    """The release whose editor is served: that of the local workers, else the one that the operator names."""
    if settings.fleet == "local":
        for sentence in absent_folders(settings):
            log.warning("%s", sentence, extra={"action": "absent_folder"})
        return RELEASES.get(ensure_installed(settings).version, DEFAULT)
    return DEFAULT if settings.comfyui_version is None else release_of(settings.comfyui_version)


def _frontends(settings: Settings, release: Release) -> Frontends:
    """ComfyUI's editors and templates, without those that cannot be fetched."""
    if not settings.editor:
        return Frontends()

    def fetched(pins: Path, found_in: Callable[[Path], Path | None]) -> Bundle | None:
        try:
            package = install.frontend(settings.derived_environments_dir(), pins, lambda what, part: click.echo(what))
        except SetupFailed as error:
            log.warning("ComfyUI's %s is not served: %s", pins.stem, error, extra={"action": "no_frontend"})
            return None
        folder = found_in(package)
        return Bundle(folder) if folder else None

    engine = fetched(release.editor, static_of) if settings.native_port is not None else None
    templates = fetched(install.TEMPLATE_PINS, templates_of)
    return Frontends(fetched(install.EDITOR_PINS, static_of), engine, templates)


def _fetch_node_map(settings: Settings) -> None:
    """Fetches the lists that tell the packs of node classes, if it can."""
    files = MapFiles(settings.derived_environments_dir(), settings.node_map_dir)
    if not files.folder.is_dir():
        click.echo("Fetching the lists of node packs")
    try:
        files.fetch()
    except SetupFailed as error:
        log.warning("packs of missing nodes are not named: %s", error, extra={"action": "no_node_map"})


def _greet(started: Started) -> None:
    click.echo(f"comfyward is listening at {started.url} (API docs: {started.url}/docs)")
    if started.native_url:
        click.echo(f"ComfyUI's own API: {started.native_url}")
    if started.pools:
        click.echo(f"Local workers: {', '.join(started.pools)}; GET /readyz answers 200 when one is ready.")
    if started.login_url:
        click.echo("\nOpen this link to log in to the website as the admin. It works once, within a week:\n")
        click.echo(f"    {started.login_url}\n")
    if started.first_key:
        click.echo("\nThis is the admin's API key. It is not shown again:\n")
        click.echo(f"    {started.first_key}\n")
