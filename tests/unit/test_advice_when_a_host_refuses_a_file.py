"""A refused file says which token is missing or too weak, and where the licence is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from comfyward.files.access import Advice, Sent, advice_on
from comfyward.files.model_sites import ModelSites

HUB = "https://huggingface.co/org/model/resolve/main/a.safetensors"
CIVITAI = "https://civitai.com/api/download/models/5"
OTHER = "https://models.example/a.safetensors"
NOTHING, OURS, OWN = Sent(), Sent("HF_TOKEN"), Sent(own_header=True)
PAGE = "https://huggingface.co/org/model"

ADVICE: dict[str, tuple[str, dict[str, Any], Sent, tuple[str, ...], str | None, str | None]] = {
    "no token, gated": (
        *(HUB, {"http_status": 401, "error_code": "GatedRepo"}, NOTHING),
        *(("gated", f"accept its licence at {PAGE}", "HF_TOKEN", "huggingface.co/settings/tokens"), "HF_TOKEN", PAGE),
    ),
    "no token, private or missing": (
        *(HUB, {"http_status": 401, "error_code": "RepoNotFound"}, NOTHING),
        *(("asks for a token", "HF_TOKEN", PAGE), "HF_TOKEN", PAGE),
    ),
    "a token without access": (
        *(HUB, {"http_status": 403, "error_code": "GatedRepo"}, OURS),
        *(("token in HF_TOKEN has no access", f"accept the licence at {PAGE}"), "HF_TOKEN", PAGE),
    ),
    "a token that is expired": (
        *(HUB, {"http_status": 401}, OURS),
        *(("does not accept the token in HF_TOKEN", "store a new one"), "HF_TOKEN", PAGE),
    ),
    "a header of the caller": (
        *(HUB, {"http_status": 401}, OWN),
        *(("Authorization that this file brings",), "HF_TOKEN", PAGE),
    ),
    "Civitai without a token": (
        *(CIVITAI, {"http_status": 401}, NOTHING),
        *(("Civitai asks for a token", "CIVITAI_TOKEN", "civitai.com/user/account"), "CIVITAI_TOKEN"),
        "https://civitai.com/model-versions/5",
    ),
    "a page to log in": (
        *(CIVITAI, {"web_page": True}, NOTHING),
        *(("Civitai asks for a token",), "CIVITAI_TOKEN", "https://civitai.com/model-versions/5"),
    ),
    "another host": (OTHER, {"http_status": 401}, NOTHING, ("models.example", "as a secret"), None, None),
    "another host with a secret": (OTHER, {"http_status": 403}, Sent("MINE"), ("MINE", "models.example"), "MINE", None),
    "a secret that cannot be read": (
        *(HUB, {"http_status": 401}, Sent(unreadable="HF_TOKEN")),
        *(("HF_TOKEN cannot be read", "store it again"), "HF_TOKEN", None),
    ),
}


@pytest.mark.parametrize("case", ADVICE)
def test_advice(case: str) -> None:
    url, refusal, sent, parts, secret, page = ADVICE[case]

    advice = advice_on(ModelSites(), url, refusal, sent)

    assert advice == Advice(advice.hint, secret, page)
    for part in parts:
        assert part in advice.hint
    assert advice.hint.endswith(".")
