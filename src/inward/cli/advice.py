"""From the forecasts of a probe to a recipe that `inward run` takes as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from inward.config import ProbeConfig, RunConfig, run_config
from inward.diagnose.outlook import Outlook
from inward.diagnose.seen import SeenGroup
from inward.errors import InwardError
from inward.methods import rlif, rlsc, rlsf
from inward.methods.start import Start
from inward.types import FinishReason

LIMITS = {
    "rlsf": ("sampling.max_completion_tokens",),
    "rlif": ("optim.max_completion_tokens",),
    "rlsc": ("optim.max_completion_tokens",),
}
"""By method, what limits the traces that it trains on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a method for one model and its prompts."""

    config: RunConfig
    text: str
    """As YAML, with the reasons above; what it leaves out are the method's own defaults."""


def recipe(one: Outlook, model: str, cfg: ProbeConfig, groups: Sequence[SeenGroup], limit: int) -> Recipe:
    """Settings for one method: its shipped recipe or its defaults, fitted to what the probe saw.

    Args:
        one: the forecast.
        model: as the user named it.
        cfg: the settings of the probe, whose answers, model and prompts are taken over.
        groups: what the probe saw.
        limit: most new tokens of the probe's traces.
    """
    tokens, why = _tokens(groups, limit)
    overrides = [f"{key}={tokens}" for key in LIMITS[one.method]]
    if one.method == "rlif":
        overrides.append(f"reward={one.reward}")
    if one.method != "rlsf":
        overrides.append("stop.action=stop")
    shipped = run_config(one.method, model, None, overrides)
    config = dataclasses.replace(
        shipped,
        prompts=dataclasses.replace(shipped.prompts, format=cfg.prompts.format, too_long=cfg.prompts.too_long),
        settings=dataclasses.replace(shipped.settings, answer=cfg.settings.answer, model=cfg.settings.model),
    )
    settings = different(config.plain(), run_config(one.method, "", None, ()).plain())
    head = [f"{one.name} for {model}, from a probe without labels.", *one.reasons, *one.risks, why]
    text = "".join(f"# {line}\n" for line in head) + yaml.safe_dump(
        {"method": one.method, **settings}, sort_keys=False, allow_unicode=True
    )
    return Recipe(config=config, text=text)


def refusal(config: RunConfig, start: Start) -> str | None:
    """Why the method would refuse this recipe before any work; None where it would take it."""
    try:
        match config.settings:
            case rlsf.Settings():
                rlsf.check(start, config.settings)
            case rlif.Settings():
                rlif.check(start, config.settings)
            case rlsc.Settings():
                rlsc.check(start, config.settings)
    except InwardError as error:
        return str(error)
    return None


def _tokens(groups: Sequence[SeenGroup], limit: int) -> tuple[int, str]:
    """How long traces may get, and why: twice the longest one seen, unless traces were cut."""
    traces = [one for group in groups for one in (group.greedy, *group.samples)]
    longest = max(one.length for one in traces)
    cut = sum(one.finish is FinishReason.LENGTH for one in traces)
    if cut:
        return limit, f"max_completion_tokens: {limit:,}, as in the probe, where {cut:,} of {len(traces):,} were cut"
    if any(one.finish is FinishReason.FIXED for one in traces):
        return limit, f"max_completion_tokens: {limit:,}, the fixed length of the probe's traces"
    tokens = min(limit, 2 * longest)
    return tokens, f"max_completion_tokens: {tokens:,}, since the longest of {len(traces):,} traces has {longest:,}"


def different(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Plain settings that are not the defaults, nested as they are."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        other = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            inner = different(value, other)
            if inner:
                found[key] = inner
        elif value != other:
            found[key] = _listed(value)
    return found


def _listed(value: Any) -> Any:
    """Tuples as lists, which YAML can write."""
    if isinstance(value, Mapping):
        return {key: _listed(one) for key, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, tuple | list) else value
