"""Probe a model on its prompts before any training: a greedy trace and samples of each, scored; no labels.

A few of the prompts are put to the model in other forms as well (another template, or none), to tell whether the form
is what keeps answers from being found. What is made of the traces is in `inward.diagnose`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inward.diagnose.seen import SeenGroup, look
from inward.errors import DataError
from inward.methods.settings.probing import ProbeSettings, Settings
from inward.methods.start import Start
from inward.models import Policy
from inward.runs import RunFolder
from inward.sample import check_prompts, probe, sample
from inward.score import score
from inward.types import Prompt, ScoredGroup, TraceGroup

SHARD_PROMPTS = 32
"""Prompts per shard: what a killed run may have to sample again."""

NO_TEMPLATE = "no_template"
"""The form in which a text is tokenised as it stands although the model has a chat template."""


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What a probe saw."""

    groups: Sequence[SeenGroup]
    forms: Mapping[str, Sequence[SeenGroup]]
    """The first prompts in other forms."""
    refused: Mapping[str, str]
    """Forms that the model cannot take, and why."""


def run(
    prompts: Sequence[Prompt],
    forms: Mapping[str, Sequence[Prompt]],
    start: Start,
    folder: RunFolder,
    settings: Settings,
    *,
    seed: int,
) -> Probed:
    """Sample and score; what is there already is kept.

    Args:
        prompts: what to ask, every one of which the model can take.
        forms: the first of the same prompts in other forms, by name.
        start: the model.
        folder: the run folder; traces go to `traces` and `scored`, those of other forms to `forms/NAME`.
        settings: see `Settings`.
        seed: of the samples.
    """
    asked = prompts[: settings.probe.num_prompts]
    number = settings.probe.num_samples

    def drawn(chunk: Sequence[Prompt]) -> list[TraceGroup]:
        return _drawn(chunk, start.policy, settings, number, seed)

    def scored(chunk: Sequence[TraceGroup]) -> list[ScoredGroup]:
        return list(score(chunk, settings.answer))

    traces = folder.map("traces", asked, drawn, TraceGroup, shard_size=SHARD_PROMPTS)
    groups = folder.map("scored", traces, scored, ScoredGroup, shard_size=SHARD_PROMPTS)
    seen = look(groups, settings.answer)
    others, refused = _takeable(forms, asked, start.policy, settings.probe)
    looked = {
        name: look(_of_form(name, shown, policy, folder, settings, seed), settings.answer)
        for name, (shown, policy) in others.items()
    }
    return Probed(groups=seen, forms=looked, refused=refused)


def _drawn(
    prompts: Sequence[Prompt], policy: Policy, settings: Settings, num_samples: int, seed: int
) -> list[TraceGroup]:
    params = dataclasses.replace(
        settings.probe.sampling().params(policy, seed), strategy="evaluate", group_size=num_samples
    )
    groups = sample(prompts, policy, params, batch_rows=settings.probe.batch_rows)
    return list(probe(groups, policy, settings.answer, batch_rows=settings.probe.batch_rows))


def _of_form(
    name: str, prompts: Sequence[Prompt], policy: Policy, folder: RunFolder, settings: Settings, seed: int
) -> Sequence[ScoredGroup]:
    def make(chunk: Sequence[Prompt]) -> list[ScoredGroup]:
        drawn = _drawn(chunk, policy, settings, settings.probe.form_samples, seed)
        return list(score(drawn, settings.answer))

    return folder.map(f"forms/{name}", prompts, make, ScoredGroup, shard_size=SHARD_PROMPTS)


def _takeable(
    forms: Mapping[str, Sequence[Prompt]], asked: Sequence[Prompt], policy: Policy, settings: ProbeSettings
) -> tuple[dict[str, tuple[Sequence[Prompt], Policy]], dict[str, str]]:
    """The forms that the model can be asked in, each with its prompts, and why it cannot in others."""
    number = min(settings.form_prompts, len(asked))
    if not number:
        return {}, {}
    tried = {name: (prompts[:number], policy) for name, prompts in forms.items()}
    templated = bool(getattr(policy.tokenizer, "chat_template", None)) and policy.chat_template != "never"
    if templated and all(prompt.text is not None for prompt in asked[:number]):
        tried[NO_TEMPLATE] = (asked[:number], dataclasses.replace(policy, chat_template="never"))
    refused: dict[str, str] = {}
    for name, (prompts, own) in tried.items():
        try:
            if check_prompts(prompts, own):
                refused[name] = "a prompt fills the context in this form"
        except DataError as error:
            refused[name] = str(error)
    return {name: one for name, one in tried.items() if name not in refused}, refused
