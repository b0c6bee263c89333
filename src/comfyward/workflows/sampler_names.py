"""Samplers and schedules of Stable Diffusion WebUI in ComfyUI's names. Pure.

(Source: modules/sd_samplers_kdiffusion.py and sd_schedulers.py there, comfy/samplers.py here.)
"""

from __future__ import annotations

SAMPLERS = {
    "euler": "euler",
    "euler a": "euler_ancestral",
    "lms": "lms",
    "heun": "heun",
    "heun++": "heunpp2",
    "dpm2": "dpm_2",
    "dpm2 a": "dpm_2_ancestral",
    "dpm++ 2s a": "dpmpp_2s_ancestral",
    "dpm++ 2m": "dpmpp_2m",
    "dpm++ sde": "dpmpp_sde",
    "dpm++ 2m sde": "dpmpp_2m_sde",
    "dpm++ 2m sde heun": "dpmpp_2m_sde_heun",
    "dpm++ 3m sde": "dpmpp_3m_sde",
    "dpm fast": "dpm_fast",
    "dpm adaptive": "dpm_adaptive",
    "ddim": "ddim",
    "ddpm": "ddpm",
    "unipc": "uni_pc",
    "lcm": "lcm",
    "ipndm": "ipndm",
    "ipndm_v": "ipndm_v",
    "deis": "deis",
    "euler cfg++": "euler_cfg_pp",
    "euler a cfg++": "euler_ancestral_cfg_pp",
}
SCHEDULERS = {
    "": "normal",
    "uniform": "normal",
    "normal": "normal",
    "karras": "karras",
    "exponential": "exponential",
    "sgm uniform": "sgm_uniform",
    "simple": "simple",
    "ddim": "ddim_uniform",
    "beta": "beta",
    "kl optimal": "kl_optimal",
}
AUTOMATIC = "automatic"
SCHEDULE_OF_SAMPLER = {  # what "Automatic" means
    "dpm2": "karras",
    "dpm2 a": "karras",
    "dpm++ 2s a": "karras",
    "dpm++ 2m": "karras",
    "dpm++ sde": "karras",
    "dpm++ 2m sde": "karras",
    "dpm++ 2m sde heun": "karras",
    "dpm++ 3m sde": "exponential",
    "ddim": "ddim",
}
_AT_THE_END = ("karras", "exponential", "sgm uniform")  # versions before 1.9 named the schedule behind the sampler


def sampler_of(name: str) -> str | None:
    """ComfyUI's sampler; None if it has none of the kind."""
    return SAMPLERS.get(_parts(name)[0])


def scheduler_of(name: str, schedule: str) -> str | None:
    """ComfyUI's schedule for a sampler and a schedule's name, which may be empty; None if it has none of the kind."""
    plain, behind = _parts(name)
    wanted = schedule.strip().lower()
    if wanted == AUTOMATIC:
        wanted = SCHEDULE_OF_SAMPLER.get(plain, "")
    return SCHEDULERS.get(wanted or behind or ("ddim" if plain == "ddim" else ""))


def _parts(name: str) -> tuple[str, str]:
    plain = name.strip().lower()
    for behind in _AT_THE_END:
        if plain.endswith(f" {behind}"):
            return plain.removesuffix(f" {behind}"), behind
    return plain, ""
