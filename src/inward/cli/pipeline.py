"""`inward run`, `inward demo` and `inward evaluate`: compose inputs, method, evaluation and report."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from inward.cli import console, dry, inputs, questions
from inward.cli.diagnosis import trained
from inward.cli.judge import check_judging, judge, judge_reward
from inward.cli.summary import Judged, working, write_summary
from inward.config import RunConfig, build, evaluate_config, run_config
from inward.errors import SettingsError
from inward.methods import rlif, rlsc, rlsf
from inward.methods.rounds import Round, trainings
from inward.methods.start import Start
from inward.runs import Crew, RunFolder
from inward.train.processes import together
from inward.types import Problem, Prompt, RankingReport


def run(
    method: str,
    model: str,
    prompts: str,
    out: Path,
    *,
    eval_task: str | None,
    eval_data: str | None,
    seed: int,
    config: Path | None,
    overrides: Sequence[str],
    dry_run: bool = False,
) -> None:
    """A method from prompts to checkpoint, judged before and after where problems are given."""
    answers = questions.task_answers(prompts, eval_task)
    cfg = run_config(method, model, config, overrides, answers)
    decoding = cfg.settings.decoding if isinstance(cfg.settings, rlsf.Settings) else None
    if decoding and not (eval_task or eval_data):
        raise SettingsError(f"baseline {decoding} trains nothing: give problems to judge on (--eval-task, --eval-data)")
    last = _decoded(cfg, decoding)
    if dry_run:
        read, _ = read_asked(cfg, prompts, seed)
        problems = inputs.read_problems(eval_task, eval_data, cfg.evaluation, format=cfg.prompts.format)
        dry.show(cfg, model, prompts, read, problems, last.evaluation)
        return
    with together(cfg.settings.model) as crew:
        console.console.quiet = not crew.leads
        _run(cfg, last, model, prompts, out, eval_task, eval_data, seed, crew)


def _run(
    cfg: RunConfig,
    last: RunConfig,
    model: str,
    prompts: str,
    out: Path,
    eval_task: str | None,
    eval_data: str | None,
    seed: int,
    crew: Crew,
) -> None:
    """The run itself, in every process of the crew; `last` are the settings that its end is judged by."""
    decoding = cfg.settings.decoding if isinstance(cfg.settings, rlsf.Settings) else None
    console.note(f"{cfg.method} from {model}, settings: {cfg.recipe}" + _named(cfg))
    start = inputs.start_from(model, cfg.settings.model)
    _check(start, cfg)
    if isinstance(cfg.settings, rlif.Settings) and not (out / "checkpoint").exists():
        rlif.check_engine(cfg.settings)
    read, gold = read_asked(cfg, prompts, seed)
    asked = inputs.usable(read, prompts, cfg.prompts, start)
    problems = inputs.problems_from(eval_task, eval_data, cfg.evaluation, start, format=cfg.prompts.format)
    task = eval_task or eval_data
    check_judging(start, problems, last.evaluation)
    manifest = inputs.manifest_for(
        cfg.method,
        cfg.plain(),
        cfg.recipe,
        seed,
        start,
        (prompts, asked),
        (task, problems) if task else None,
        labels_used=gold is not None,
    )
    with working(out, manifest, _names(decoding), cfg.report_to, crew) as (folder, warned):
        before = _judge(start, problems, task, folder, "before", cfg)
        kept = start if decoding else _train(asked, start, folder, cfg, seed, gold)
        after = _judge(kept, problems, task, folder, "after", last)
        curve = _along(before, after, problems, task, folder, cfg)
        if not crew.leads:
            return
        reward = _judge_reward(before, folder, cfg)
        write_summary(folder, task, model, before, after, warned, curve, reward)
    summary = folder.read_json("summary.json")
    console.show_summary(summary)
    console.show_kept(summary)
    console.show_places(out)
    if not decoding:
        console.note(f"checkpoint  {kept.path}")


def evaluate_model(
    model: str,
    out: Path,
    *,
    task: str | None,
    data: str | None,
    config: Path | None,
    overrides: Sequence[str],
) -> None:
    """Judge one checkpoint."""
    name = task or data
    if not name:
        raise SettingsError("nothing to evaluate on: give a task (--task) or a data file (--data)")
    cfg, recipe = evaluate_config(model, config, overrides, questions.task_answers(None, task))
    console.note(f"evaluate {model} on {name}, settings: {recipe}")
    start = inputs.start_from(model, cfg.model)
    problems = inputs.problems_from(task, data, cfg.evaluation, start)
    reference = check_judging(start, problems, cfg.evaluation)
    manifest = inputs.manifest_for("evaluate", cfg.plain(), recipe, cfg.evaluation.seed, start, None, (name, problems))
    with working(out, manifest, NAMES) as (folder, warned):
        judged = judge(start, problems, name, folder, "before", cfg.answer, cfg.evaluation, reference=reference)
        write_summary(folder, name, model, judged, None, warned)
    console.show_summary(folder.read_json("summary.json"))
    if cfg.evaluation.decoding != "greedy":
        console.note(f"decoding    {cfg.evaluation.decoding}: what is called greedy is of its answers")
    console.show_places(out)


def read_asked(cfg: RunConfig, source: str, seed: int) -> tuple[list[Prompt], rlif.Gold | None]:
    """The prompts and, for the control that is trained with labels, what grades completions of them."""
    if isinstance(cfg.settings, rlif.Settings) and cfg.settings.supervised:
        return inputs.read_supervised(source, cfg.prompts, seed, cfg.settings.answer)
    rephrased = isinstance(cfg.settings, rlif.Settings) and cfg.settings.rephrased
    return inputs.read_prompts(source, cfg.prompts, seed, rephrased=rephrased), None


NAMES = {"before/scored": "sample the model", "before/items": "grade the model"}
"""Stages of an evaluation on the terminal, where nothing is trained before or after it."""


def _names(decoding: str | None) -> dict[str, str]:
    """Stages of a baseline that trains nothing: the start model answers in another way."""
    return {} if decoding is None else {"after/scored": f"sample by {decoding}", "after/items": f"grade {decoding}"}


def _check(start: Start, cfg: RunConfig) -> None:
    match cfg.settings:
        case rlsf.Settings():
            rlsf.check_engine(cfg.settings)
            rlsf.check(start, cfg.settings)
        case rlif.Settings():
            rlif.check(start, cfg.settings)
        case rlsc.Settings():
            rlsc.check(start, cfg.settings)


def of_baseline(name: str | None) -> dict[str, tuple[str, str]]:
    """Settings that make a run a baseline, for `flags.overrides`."""
    if name is None:
        return {}
    made = {"baseline": name, **rlsf.BASELINES.get(name, {})}
    return {key: ("--baseline", "null" if value is None else value) for key, value in made.items()}


def _named(cfg: RunConfig) -> str:
    baseline = cfg.settings.baseline if isinstance(cfg.settings, rlsf.Settings) else None
    return f", as a baseline: {baseline}" if baseline else ""


def _decoded(cfg: RunConfig, decoding: str | None) -> RunConfig:
    """The settings under another decoding of the evaluation."""
    if decoding is None:
        return cfg
    evaluation = {**dataclasses.asdict(cfg.evaluation), "decoding": decoding}
    return dataclasses.replace(cfg, evaluation=build(type(cfg.evaluation), evaluation, "evaluation."))


def _train(
    prompts: Sequence[Prompt], start: Start, folder: RunFolder, cfg: RunConfig, seed: int, gold: rlif.Gold | None
) -> Start:
    """Train, and return the checkpoint that is kept."""
    match cfg.settings:
        case rlsf.Settings():
            kept = rlsf.run(prompts, start, folder, cfg.settings, seed=seed)
        case rlif.Settings():
            kept = rlif.run(prompts, start, folder, cfg.settings, seed=seed, gold=gold)
        case rlsc.Settings():
            kept = rlsc.run(prompts, start, folder, cfg.settings, seed=seed)
    return _kept(folder.path, str(kept.relative_to(folder.path)), cfg)


def _kept(out: Path, name: str, cfg: RunConfig) -> Start:
    return Start(name, out / name, cfg.settings.model)


def _along(
    before: Judged | None,
    after: Judged | None,
    problems: Sequence[Problem],
    task: str | None,
    folder: RunFolder,
    cfg: RunConfig,
) -> list[tuple[int, Judged]]:
    """Judge the checkpoints of a method that keeps several, the start model and the kept one standing as they are."""
    several = _several(folder)
    if before is None or after is None or not several:
        return []
    judged = {trained(folder).get("kept_step", max(several)): after, 0: before}
    for step, name in sorted(several.items()):
        if step not in judged:
            one = _kept(folder.path, name, cfg)
            judged[step] = judge(
                one, problems, task or "", folder, f"curve/{step:05d}", cfg.settings.answer, cfg.evaluation
            )
            one.release()
    return sorted(judged.items())


def _several(folder: RunFolder) -> dict[int, str]:
    """By step, the checkpoints of a method that keeps several, or of rounds where there is more than one."""
    rounds = trainings(folder)
    if len(rounds) > 1:
        return {one["steps"]: Round(folder=folder, number=n, seed=0).at("checkpoint") for n, one in rounds.items()}
    return {int(path.name): f"checkpoints/{path.name}" for path in (folder.path / "checkpoints").glob("[0-9]*")}


def _judge_reward(before: Judged | None, folder: RunFolder, cfg: RunConfig) -> list[RankingReport]:
    """How the reward model of the first round ranks the start model's answers; nothing where there is none."""
    if before is None or not (folder.path / "reward_model").exists():
        return []
    return judge_reward(folder.path / "reward_model", folder, "before", cfg.settings.model)


def _judge(
    start: Start, problems: Sequence[Problem], task: str | None, folder: RunFolder, name: str, cfg: RunConfig
) -> Judged | None:
    if not problems or task is None:
        return None
    judged = judge(start, problems, task, folder, name, cfg.settings.answer, cfg.evaluation)
    start.release()
    return judged
