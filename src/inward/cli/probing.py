"""`inward probe`: would training on its own confidence help this model on these prompts? No training, no labels."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from inward import report
from inward.cli import advice, console, inputs, probe_table, questions
from inward.cli.summary import working
from inward.config import ProbeConfig, probe_config, run_config
from inward.diagnose.features import features, paired, spread
from inward.diagnose.outlook import Outlook, outlook, recommended
from inward.diagnose.prompting import prompting
from inward.diagnose.seen import SeenGroup
from inward.errors import DataError
from inward.methods import probing, rlsc
from inward.methods.probing import Probed
from inward.methods.start import Start
from inward.runs import RunFolder
from inward.runs.records import to_json
from inward.tasks.formats import FORMATS
from inward.types import Prompt

RESULT = "probe.json"
RECIPE = "recipe.yaml"


def probe(
    model: str,
    prompts: str,
    out: Path | None,
    *,
    seed: int,
    config: Path | None,
    overrides: Sequence[str],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Sample, measure, forecast, and write probe.json, the report and, where there is ground for one, a recipe."""
    cfg, recipe = probe_config(model, config, overrides, questions.task_answers(prompts, None))
    out = out or default_out(model, prompts)
    plain = inputs.read_prompts(prompts, dataclasses.replace(cfg.prompts, format="plain"), seed)
    plain = plain[: cfg.settings.probe.num_prompts]
    read = [FORMATS[cfg.prompts.format](prompt) for prompt in plain]
    if dry_run:
        _show_work(read, model, out, cfg)
        return
    console.note(f"probe {model} on {prompts}, settings: {recipe}")
    start = inputs.start_from(model, cfg.settings.model)
    asked = inputs.usable(read, prompts, cfg.prompts, start)
    forms = _forms(asked, plain, cfg.settings.probe.form_prompts)
    manifest = inputs.manifest_for("probe", cfg.plain(), recipe, seed, start, (prompts, asked), None)
    with working(out, manifest) as (folder, warned):
        probed = probing.run(asked, forms, start, folder, cfg.settings, seed=seed)
        with folder.timed("measure"):
            found = _found(probed, start, folder, cfg, model, prompts)
        folder.write_json(RESULT, found | {"seconds": folder.seconds(), "warnings": list(warned)})
        report.build(out)
    found = folder.read_json(RESULT)
    if as_json:
        typer.echo(to_json(found, indent=2))
    else:
        probe_table.show(found)
        typer.echo(f"numbers     {out / RESULT}\nreport      {out / 'report.html'}")


def default_out(model: str, prompts: str) -> Path:
    """Where a probe goes that was not told: a folder of its own for each model and prompts."""
    parts = (re.sub(r"[^\w.-]+", "-", Path(part).name).strip("-.") for part in (model, prompts))
    return Path("inward-probe") / "--".join(part or "here" for part in parts)


def _forms(asked: Sequence[Prompt], plain: Sequence[Prompt], number: int) -> dict[str, list[Prompt]]:
    """The first prompts in every other form that differs from theirs."""
    first = list(asked[:number])
    bare = {prompt.id: prompt for prompt in plain}
    forms: dict[str, list[Prompt]] = {}
    for name, put in FORMATS.items():
        try:
            made = [put(bare[prompt.id]) for prompt in first]
        except DataError:
            continue  # a conversation with a system message of its own takes no other
        if made != first and made not in forms.values():
            forms[name] = made
    return forms


def _found(
    probed: Probed, start: Start, folder: RunFolder, cfg: ProbeConfig, model: str, prompts: str
) -> dict[str, Any]:
    """Everything that probe.json says, but for what it took."""
    groups = probed.groups
    optim = run_config("rlsc", model, None, ()).settings
    assert isinstance(optim, rlsc.Settings)
    measured = features(groups, alpha=optim.optim.alpha)
    changes = {name: paired(groups[: len(other)], other) for name, other in probed.forms.items()}
    outlooks = outlook(measured)
    limit = cfg.settings.probe.sampling().params(start.policy, folder.manifest.seed).max_completion_tokens
    return {
        "method": "probe",
        "model": model,
        "prompts": prompts,
        "labels_used": False,
        "seed": folder.manifest.seed,
        "recipe": folder.manifest.recipe,
        "num_prompts": len(groups),
        "num_samples": cfg.settings.probe.num_samples,
        "temperature": cfg.settings.probe.temperature,
        "max_completion_tokens": limit,
        "features": measured,
        "agreement_spread": spread(groups),
        "prompting": {
            "findings": prompting(measured, changes),
            "forms": changes,
            "refused": dict(probed.refused),
        },
        "outlooks": [_plain_outlook(one) for one in outlooks],
        "advice": _advice(outlooks, groups, start, folder, cfg, limit, model, prompts),
    }


def _plain_outlook(one: Outlook) -> dict[str, Any]:
    return {
        "method": one.method,
        "reward": one.reward or None,
        "verdict": one.verdict,
        "expected_gain": one.gain,
        "reasons": list(one.reasons),
        "risk": one.risk,
        "risks": list(one.risks),
    }


def _advice(
    outlooks: Sequence[Outlook],
    groups: Sequence[SeenGroup],
    start: Start,
    folder: RunFolder,
    cfg: ProbeConfig,
    limit: int,
    model: str,
    prompts: str,
) -> Mapping[str, Any]:
    """The method to try and its recipe, or why there is none."""
    able, refused = list(outlooks), []
    while (best := recommended(able)) is not None:
        made = advice.recipe(best, model, cfg, groups, limit)
        why = advice.refusal(made.config, start)
        if why is None:
            folder.write_text(RECIPE, made.text)
            return _said("try", best, refused, _command(best, folder.path / RECIPE, model, prompts))
        refused.append(f"{best.name} would refuse its recipe: {why}")
        able.remove(best)
    open_ = next((one for one in outlooks if one.verdict == "no evidence"), None)
    said = open_ or outlooks[0]
    return _said("no evidence" if open_ or refused else "do not", said, refused, None)


def _said(verdict: str, one: Outlook, refused: Sequence[str], command: str | None) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "method": one.method if command else None,
        "reward": (one.reward or None) if command else None,
        "because": [*refused, *one.reasons],
        "recipe": RECIPE if command else None,
        "command": command,
    }


def _command(one: Outlook, recipe: Path, model: str, prompts: str) -> str:
    words = ["inward", "run", one.method, "--config", str(recipe), "--model", model, "--prompts", prompts]
    return shlex.join([*words, "--out", f"runs/{one.method}"])


def _show_work(prompts: Sequence[Prompt], model: str, out: Path, cfg: ProbeConfig) -> None:
    chosen = cfg.settings.probe
    each, forms = 1 + chosen.num_samples, min(chosen.form_prompts, len(prompts))
    console.note(f"would probe {model}, writing {out}")
    console.note(f"traces: {len(prompts):,} prompts * {each} = {len(prompts) * each:,}")
    if forms:
        more = forms * (1 + chosen.form_samples)
        console.note(
            f"in other forms: {forms} prompts * {1 + chosen.form_samples} = {more:,} for each form it can take"
        )
    most = chosen.max_completion_tokens
    console.note(f"tokens of a trace: {f'{most:,} at most' if most else 'as the model says, else 256, at most'}")
    console.note("nothing was read of the model's weights, and nothing written")
