"""The website: server-rendered pages over the same rows and the same API as everything else."""

from __future__ import annotations

from comfyward.api.app import Website
from comfyward.api.context import Context
from comfyward.api.native.frontend import Frontends
from comfyward.web import account, code, editor, entry, fleet, form, live, models, oidc, runs, workflows
from comfyward.web.assets import Assets
from comfyward.web.visit import Pages, Site


def website(context: Context, frontends: Frontends) -> Website:
    """The website, to stand beside the API."""
    site = Site(context, frontends, Assets())
    pages = Pages(site)
    parts = (entry, oidc, workflows, editor, form, code, runs, live, models, account, fleet)
    routes = [*site.assets.routes(), *(route for part in parts for route in part.routes(pages))]
    return Website(routes, pages.problem)
