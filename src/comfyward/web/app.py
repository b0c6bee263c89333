"""The website: server-rendered pages over the same rows and the same API as everything else."""

from __future__ import annotations

from comfyward.api.app import Website
from comfyward.api.context import Context
from comfyward.api.native.frontend import Frontends
from comfyward.web.account_data import AccountData
from comfyward.web.account_keys import AccountKeys
from comfyward.web.account_security import AccountSecurity
from comfyward.web.account_usage import AccountUsage
from comfyward.web.account_webhooks import AccountWebhooks
from comfyward.web.assets import Assets
from comfyward.web.code import ApiCode
from comfyward.web.comfyui_templates import ComfyUITemplates
from comfyward.web.editor import Editor
from comfyward.web.explore import Explore
from comfyward.web.fleet import FleetPage
from comfyward.web.form import Forms
from comfyward.web.graph_inputs import GraphInputs
from comfyward.web.live import LiveUpdates
from comfyward.web.login import Login
from comfyward.web.models import FilesAndModels
from comfyward.web.new_workflow import NewWorkflows
from comfyward.web.oidc import OidcLogin, Provider
from comfyward.web.pages import Pages
from comfyward.web.run_list import RunList
from comfyward.web.runs import RunActions, RunPage
from comfyward.web.templating import page_templates
from comfyward.web.users import Users
from comfyward.web.workers import Workers
from comfyward.web.workflow_copies import WorkflowCopies
from comfyward.web.workflows import Workflows


def website(context: Context, frontends: Frontends) -> Website:
    db, auth, inventory, settings = context.db, context.auth, context.inventory, context.settings
    provider, assets = Provider.of(settings), Assets()
    pages = Pages(auth, page_templates(assets, has_oidc=provider is not None), context.public_url)
    inputs, run_list = GraphInputs(db, inventory), RunList(db, inventory)
    copies = WorkflowCopies(db, inventory)
    parts = (
        Login(db),
        OidcLogin(db, provider),
        NewWorkflows(db, context.blobs, inputs, ComfyUITemplates(frontends.templates_folder)),
        Workflows(db, context.intake, inventory, inputs, run_list, copies),
        Explore(db, inputs, copies, context.contents),
        Editor(db, context.intake, inventory, context.forecasts, is_installed=frontends.editor is not None),
        Forms(db, context.intake, inventory, inputs),
        ApiCode(db, inputs),
        run_list,
        RunPage(db, inventory, inputs, context.forecasts),
        RunActions(db, context.intake, context.objects),
        LiveUpdates(db, context.hub),
        FilesAndModels(db, context.imports),
        AccountKeys(db, auth),
        AccountWebhooks(db, auth, context.webhooks),
        AccountUsage(db),
        AccountSecurity(db),
        AccountData(db, auth, context.intake, context.objects),
        FleetPage(db, inventory, context.hub, context.fleet, settings.prices, settings.local_min_workers),
        Workers(db, context.sessions, context.logs, context.fleet),
        Users(db, auth),
    )
    routes = [*assets.routes(), *(route for part in parts for route in pages.routes(part.pages()))]
    return Website(routes, pages.problem)
