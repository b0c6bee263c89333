"""The pages of the website."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.routing import BaseRoute

from comfyward.api.error_pages import ProblemPage
from comfyward.api.following import Following
from comfyward.api.native.frontend import Frontends
from comfyward.server.construction import Core
from comfyward.web.account_data import AccountData
from comfyward.web.account_keys import AccountKeys
from comfyward.web.account_secrets import AccountSecrets
from comfyward.web.account_security import AccountSecurity
from comfyward.web.account_usage import AccountUsage
from comfyward.web.account_webhooks import AccountWebhooks
from comfyward.web.assets import Assets
from comfyward.web.code import ApiCode
from comfyward.web.comfyui_templates import ComfyUITemplates
from comfyward.web.editor import Editor
from comfyward.web.editor_frame import EditorFrames
from comfyward.web.environment_acts import EnvironmentActs
from comfyward.web.environment_lockings import EnvironmentLockings
from comfyward.web.environment_specs import EnvironmentSpecs
from comfyward.web.environments import Environments
from comfyward.web.explore import Explore
from comfyward.web.fleet import FleetPage
from comfyward.web.fleet_memory import FleetMemory
from comfyward.web.form import Forms
from comfyward.web.graph_inputs import GraphInputs
from comfyward.web.library import ModelPages
from comfyward.web.live import LiveUpdates
from comfyward.web.login import Login
from comfyward.web.missing import MissingParts
from comfyward.web.models import FilesAndModels
from comfyward.web.new_workflow import NewWorkflows
from comfyward.web.oidc import OidcLogin, Provider
from comfyward.web.pack_requests import PackRequests
from comfyward.web.pages import Pages
from comfyward.web.run_list import RunList
from comfyward.web.runs import RunActions, RunPage
from comfyward.web.template_marks import TemplateMarks
from comfyward.web.templating import page_templates
from comfyward.web.user_storage import UserStorage
from comfyward.web.users import Users
from comfyward.web.workers import Workers
from comfyward.web.workflow_choice import WorkflowChoice
from comfyward.web.workflow_copies import WorkflowCopies
from comfyward.web.workflow_settings import WorkflowSettings
from comfyward.web.workflows import Workflows


@dataclass(frozen=True)
class Website:
    """The website's routes, and its page for errors."""

    routes: Sequence[BaseRoute]
    problem: ProblemPage


def website(core: Core, frontends: Frontends) -> Website:
    db, auth, inventory, settings = core.db, core.auth, core.inventory, core.settings
    provider, assets = Provider.of(settings), Assets()
    pages = Pages(auth, page_templates(assets, core.editor_address, has_oidc=provider is not None), core.public_url)
    inputs, run_list = GraphInputs(db, inventory, core.bindings), RunList(db, inventory)
    checks, graphs = core.missing.checks, core.saved_graphs
    copies, templates = WorkflowCopies(db, core.bindings), ComfyUITemplates(frontends.templates_folder)
    marks = TemplateMarks(db, core.bindings, templates, core.missing.template_models)
    frames = EditorFrames(core.editor_address, core.tickets, core.environments.web_files)
    parts = (
        Login(db, auth),
        OidcLogin(db, auth, provider),
        WorkflowChoice(checks, templates, marks),
        NewWorkflows(db, core.storage.blobs, templates, core.workflow_files, graphs),
        Workflows(db, checks, inputs, run_list, copies, graphs),
        MissingParts(db, checks, core.missing.acquisition, core.missing.errands),
        WorkflowSettings(db, inventory, core.bindings),
        Explore(db, checks, copies, core.contents),
        Editor(db, checks, inventory, core.workforce.forecasts, frames, is_installed=frontends.editor is not None),
        Forms(db, core.intake, inputs, checks, graphs),
        ApiCode(db, inputs, graphs),
        run_list,
        RunPage(db, inventory, inputs, core.workforce.forecasts, checks),
        RunActions(db, core.intake, core.storage.objects),
        LiveUpdates(db, Following(auth, core.changes.hub)),
        FilesAndModels(db, core.storage.imports, core.storage.site_files),
        ModelPages(core.models.library, core.storage.quotas),
        AccountKeys(db, auth),
        AccountSecrets(db, core.storage.named_secrets),
        AccountWebhooks(db, auth, core.webhooks),
        AccountUsage(db, core.storage.quotas),
        AccountSecurity(db, auth),
        AccountData(db, auth, core.intake, core.storage.objects),
        Environments(db, settings.derived_environments_dir()),
        EnvironmentActs(db, core.workforce.revisions),
        EnvironmentSpecs(db, core.finder, core.environments.shared_trees, settings.upload_limit_bytes),
        EnvironmentLockings(core.environments.lockings),
        PackRequests(db, checks),
        FleetPage(db, inventory, core.changes.hub, core.workforce.fleet, settings.prices, settings.local_min_workers),
        Workers(db, core.workforce.sessions, core.workforce.logs, core.workforce.fleet),
        FleetMemory(core.models.pins, inventory),
        Users(db, auth),
        UserStorage(db, auth, core.storage.quotas),
    )
    routes = [*assets.routes(), *(route for part in parts for route in pages.routes(part.pages()))]
    return Website(routes, pages.problem)
