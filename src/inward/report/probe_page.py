"""The page of `inward probe`: what to expect of each method, why, and what the untrained model's traces show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inward.errors import RunFolderError
from inward.report import sections
from inward.report.data import RunData
from inward.report.figures import bars, ranges
from inward.report.markup import NOTHING, counted, decimal, esc
from inward.report.page import document
from inward.report.tally import Histogram
from inward.runs import RunFolder, from_json
from inward.types import Estimate

RESULT = "probe.json"
PILLS = {"try": "good", "do not": "bad", "no evidence": "none"}
SHOWN = {
    "entropy": ("Policy entropy", "nats a token, mean over traces"),
    "token_entropy": ("The same over all tokens", "nats a token: long traces count more"),
    "answer_rate": ("Traces with an answer", "one that can be read off, or is given when asked"),
    "announced_rate": ("Traces that announce it", "the format: ####, a box, “answer is”"),
    "greedy_answer_rate": ("Greedy traces with an answer", ""),
    "agreement": ("Agreement", "share of a prompt's samples that give the most frequent answer"),
    "unanimous_rate": ("Prompts with one answer", "given by all samples"),
    "distinct_answers": ("Different answers", "to one prompt"),
    "pair_agreement": ("Two samples agree", "of one prompt"),
    "chance_agreement": ("Two samples agree by chance", "of different prompts"),
    "agreement_above_chance": ("The difference", "the votes say nothing where it is not above 0"),
    "top_answer_share": ("The most frequent answer", "share of all answers to all prompts"),
    "greedy_vote": ("Votes for the greedy answer", "share of the samples"),
    "confidence": ("Confidence of greedy answers", "mean probability of their tokens"),
    "length": ("Length", "completion tokens"),
    "truncated_rate": ("Cut at the limit", ""),
    "endless_rate": ("Without an end", "the model has no end-of-sequence token"),
    "repetition": ("Repetition", "token 4-grams that occurred before in the same trace"),
    "alpha_share": ("Alpha's share of RLSC's weight", "near 1 all samples weigh the same"),
}
BY_MEASURE = {
    "auroc": ("AUROC against the vote", "traces with the voted answer surer than others"),
    "chosen_voted": ("Best of n gives the voted answer", "share of prompts"),
    "chosen_greedy": ("Best of n gives the greedy answer", "share of prompts"),
    "chosen_length": ("Its length", "tokens"),
    "push_long": ("Long traces", "change of their share per unit step"),
    "favoured_share": ("The way it favours", "share of the samples"),
    "picks_agree": ("In that way, likeliest of either half agree", "share of prompts"),
    "picks_greedy": ("In that way, likeliest and greedy agree", "share of prompts"),
    "gain": ("Expected gain", "in greedy accuracy"),
}
CLUSTERS = ("announced", "unannounced", "shorter", "longer", "voted", "outvoted", "unanswered")

Estimates = Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class ProbeData:
    """Everything the page shows."""

    run: RunData
    found: Mapping[str, Any]
    """probe.json."""
    features: Estimates


def read(path: Path) -> ProbeData:
    """Read what the page shows.

    Raises:
        RunFolderError: The probe has not come to its end, or a file is damaged.
    """
    folder = RunFolder.read(path)
    if not (path / RESULT).exists():
        raise RunFolderError(
            f"{path} has no {RESULT}, so its probe is not finished; run the same command again to continue it"
        )
    found = folder.read_json(RESULT)
    run = RunData(manifest=folder.manifest, seconds=found["seconds"], warnings=tuple(found["warnings"]))
    features = {key: from_json(Estimate, one) for key, one in found["features"].items()}
    return ProbeData(run=run, found=found, features=features)


def render(data: ProbeData) -> str:
    """Write the whole page; text from data is escaped."""
    said = data.found["advice"]
    method = " ".join(filter(None, (said["method"], said["reward"])))
    claim = f"Try {esc(method)}" if said["verdict"] == "try" else f"{esc(said['verdict'].capitalize())}: here is why"
    traces = f"{counted(data.found['num_prompts'], 'prompt')}, {counted(data.found['num_samples'], 'sample')} of each"
    evidence = f"{esc(said['because'][0])}. From {traces}, without labels: a forecast, not a measurement."
    shown = [
        ("forecast", "What to expect of each method", _forecasts(data)),
        ("recipe", "What to do", _advice(said)),
        ("prompts", "Is it the prompt?", _prompting(data.found["prompting"])),
        ("seen", "What the traces show", _seen(data)),
        ("measures", "Each measure against the votes", _measures(data.features)),
        ("pushes", "What a small step of each reward would move", _pushes(data.features)),
        ("run", "The run", sections.run(data.run)),
    ]
    return document(data.run, claim, evidence, shown)


def _forecasts(data: ProbeData) -> str:
    cards: list[str] = []
    for one in data.found["outlooks"]:
        name = esc(" ".join(filter(None, (one["method"], one["reward"]))))
        gain = from_json(Estimate, one["expected_gain"])
        why = "".join(f"<li>{esc(line)}</li>" for line in one["reasons"])
        risks = "".join(f"<li>{esc(line)}</li>" for line in one["risks"])
        drawn = "" if math.isnan(gain.value) else ranges([("after", gain)], low=-0.5, high=0.5)
        cards.append(
            f'<div class="card"><h3>{name}</h3><p class="value">{decimal(gain.value, signed=True)}</p>'
            f'<span class="pill {PILLS[one["verdict"]]}">{esc(one["verdict"])}</span>'
            f'<p class="change">expected gain in greedy accuracy, 95%: {_interval(gain, signed=True)}</p>{drawn}'
            f'<details class="fold"><summary>Why</summary><ul>{why}</ul></details>'
            f'<details class="fold"><summary>Risk: {esc(one["risk"])}</summary><ul>{risks}</ul></details></div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _advice(said: Mapping[str, Any]) -> str:
    why = "".join(f"<li>{esc(line)}</li>" for line in said["because"])
    command = f"<pre>{esc(said['command'])}</pre>" if said["command"] else ""
    return f"<ul>{why}</ul>{command}"


def _prompting(said: Mapping[str, Any]) -> str:
    found = "".join(
        f"<li><b>{esc(one['name'])}</b> {esc(one['evidence'])}: {esc(one['advice'])}</li>" for one in said["findings"]
    )
    tried = [
        f"<li>form {esc(name)}: answers {_cell(from_json(Estimate, changes['answer_rate']), signed=True)}</li>"
        for name, changes in said["forms"].items()
    ]
    tried += [f"<li>form {esc(name)} was not tried: {esc(why)}</li>" for name, why in said["refused"].items()]
    return f"<ul>{found or '<li>Nothing shows that the prompts are the problem.</li>'}{''.join(tried)}</ul>"


def _seen(data: ProbeData) -> str:
    drawn, spread = Histogram(bins=10), data.found["agreement_spread"]
    drawn.counts = list(spread["histogram"])
    rows = [_row(about, [data.features[key]]) for key, about in SHOWN.items()]
    low, middle, high = (decimal(spread["quantiles"][i], 2) for i in (2, 3, 4))
    return (
        f"<p>Agreement over prompts: a quarter at or below {low}, half at or below {middle}, three quarters at or "
        f"below {high}.</p>{bars(drawn, x_label='agreement', noun='prompt')}{_table(['Value'], rows)}"
    )


def _measures(features: Estimates) -> str:
    names = _names(features)
    rows = [_row(about, [features[f"{key}/{name}"] for name in names]) for key, about in BY_MEASURE.items()]
    return _table(names, rows)


def _pushes(features: Estimates) -> str:
    names = [name for name in _names(features) if f"push/{name}/covariance" in features]
    rows: list[str] = []
    for cluster in CLUSTERS:
        moved = [features[f"push/{name}/share/{cluster}"] for name in names]
        parts = [features[f"push/{name}/covariance/{cluster}"] for name in names]
        rows.append(_row((f"Share of {cluster} traces", "per unit step"), moved, signed=True))
        rows.append(_row(("Their part in the covariance", "of reward and log-probability"), parts, signed=True))
    whole = [features[f"push/{name}/covariance"] for name in names]
    rows.append(_row(("Covariance of reward and log-probability", "above 0 the step sharpens"), whole, signed=True))
    return (
        "<p>To first order, along the natural gradient of the reward normalised within the group: where training sets "
        f"out to, not where it ends.</p>{_table(names, rows)}"
    )


def _names(features: Estimates) -> list[str]:
    return [key.removeprefix("gain/") for key in features if key.startswith("gain/")]


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{esc(name)}</th>' for name in heads)
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr><th scope="col"></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(about: tuple[str, str], values: Sequence[Estimate], *, signed: bool = False) -> str:
    cells = "".join(f"<td>{_cell(one, signed=signed)}</td>" for one in values)
    return f'<tr><th scope="row">{about[0]}<small>{about[1]}</small></th>{cells}</tr>'


def _cell(one: Estimate, *, signed: bool = False) -> str:
    if math.isnan(one.value):
        return NOTHING
    return f"{decimal(one.value, signed=signed)}<small>{_interval(one, signed=signed)}</small>"


def _interval(one: Estimate, *, signed: bool = False) -> str:
    if math.isnan(one.value):
        return NOTHING
    return f"{decimal(one.low, signed=signed)} to {decimal(one.high, signed=signed)}"
