"""Is it the prompt? Findings about how a model is asked: from a probe's features, and other forms of its prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from inward.types import Estimate, Finding, Severity

NOTICEABLE = 0.1
"""Share of traces from which on a difference is worth a word; as `findings.FORMAT_GAIN`."""
MOSTLY = 0.5

Features = Mapping[str, Estimate]


def prompting(features: Features, forms: Mapping[str, Features]) -> list[Finding]:
    """Say what is wrong with the way the model is asked; nothing where nothing shows.

    Args:
        features: those of `features.features`.
        forms: by the name of another form, its paired changes, those of `features.paired`.
    """
    return [*_forms(forms), *_cut(features), *_unannounced(features), *_same_answer(features)]


def _forms(forms: Mapping[str, Features]) -> Iterator[Finding]:
    for name, changes in forms.items():
        more = changes["answer_rate"]
        if more.low > 0 and more.value >= NOTICEABLE:
            yield Finding(
                name="form",
                severity=Severity.WARNING,
                evidence=f"asked in the form {name}, answers can be read off {_signed(more)} of the traces "
                f"({more.n} prompts, paired)",
                advice="it is the form of the prompts that hides answers: set model.chat_template=never"
                if name == "no_template"
                else f"it is the form of the prompts that hides answers: set prompts.format={name}",
            )


def _cut(features: Features) -> Iterator[Finding]:
    cut = features["truncated_rate"]
    if cut.value > NOTICEABLE:
        yield Finding(
            name="truncation",
            severity=Severity.WARNING,
            evidence=f"{cut.value:.2f} [{cut.low:.2f}, {cut.high:.2f}] of the traces were cut at the length limit",
            advice="raise probe.max_completion_tokens; where they ramble on, ask for a short answer or give a template "
            "that ends the turn",
        )


def _unannounced(features: Features) -> Iterator[Finding]:
    answered, announced = features["answer_rate"], features["announced_rate"]
    if answered.value - announced.value > NOTICEABLE:
        yield Finding(
            name="unannounced",
            severity=Severity.NOTE,
            evidence=f"an answer can be read off {answered.value:.2f} of the traces, and {announced.value:.2f} "
            "announce one",
            advice="answers are guessed from the last number or option: ask for a box or `####` in the prompt, so that "
            "what is ranked is the answer",
        )


def _same_answer(features: Features) -> Iterator[Finding]:
    top = features["top_answer_share"]
    if top.value > MOSTLY:
        yield Finding(
            name="one_answer",
            severity=Severity.WARNING,
            evidence=f"one answer makes up {top.value:.2f} [{top.low:.2f}, {top.high:.2f}] of all answers to all "
            "prompts",
            advice="look at the traces: the model may not read the question, or the answer is read off the wrong place",
        )


def _signed(one: Estimate) -> str:
    return f"{one.value:+.2f} [{one.low:+.2f}, {one.high:+.2f}]"
