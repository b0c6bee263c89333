"""The environment of the page templates: their filters and the functions that they call."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from comfyward.api.editor_address import EditorAddress
from comfyward.ids import new_id
from comfyward.paths import model_at
from comfyward.web import formatting
from comfyward.web.assets import Assets
from comfyward.web.failures import advices_on
from comfyward.web.problems import SENTENCES, field_id, file_kind, ways_to_add
from comfyward.workflows.offer import no_pack

TEMPLATES = Path(__file__).parent / "templates"


def page_templates(assets: Assets, editor_address: EditorAddress, *, has_oidc: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(formatting.FILTERS, model_at=model_at)
    environment.globals.update(
        asset=assets.url,
        advices_on=advices_on,
        editor_address=editor_address,
        field_id=field_id,
        formatting=formatting,
        has_oidc=has_oidc,
        no_pack=no_pack,
        new_intent=new_id,
        file_kind=file_kind,
        ways_to_add=ways_to_add,
        with_article=formatting.with_article,
        sentences=SENTENCES,
    )
    return environment
