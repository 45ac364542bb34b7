"""The command line. Heavy imports stand inside the commands, so that `inward --help` starts at once."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from inward.cli import flags, unlabelled
from inward.cli.following import error_label, follows
from inward.cli.options import (
    Config,
    Data,
    Devices,
    Endpoint,
    Engine,
    Folder,
    Model,
    Out,
    Prompts,
    Seed,
    Set,
    Sharding,
    Task,
)
from inward.cli.terminating import EXIT_CODE, ending_on_sigterm
from inward.errors import InwardError

app = typer.Typer(
    name="inward",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Post-train a language model on its own confidence: no labels, no human feedback, no outside reward.",
)


@app.command()
def demo(
    seed: Seed = 0,
    out: Out = Path("inward-demo"),
) -> None:
    """Make the embedded chat model better at arithmetic without a label, and measure it: under two minutes."""
    from inward.cli import pipeline

    pipeline.run(
        "rlsf",
        "embedded:chat",
        "embedded",
        out,
        eval_task="arithmetic",
        eval_data=None,
        seed=seed,
        config=None,
        overrides=(),
    )


@app.command()
def run(
    method: Annotated[str, typer.Argument(help="rlsf, rlif or rlsc")],
    model: Model,
    prompts: Prompts,
    out: Out,
    eval_task: Annotated[
        str | None,
        typer.Option("--eval-task", help="Judge before and after on it: arithmetic, gsm8k, ...; see docs/tasks.md."),
    ] = None,
    eval_data: Annotated[
        str | None,
        typer.Option("--eval-data", help="Judge before and after on a file with `answer`, or in the task's form."),
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(
            "--reward",
            help="rlif: self_certainty, neg_entropy, mean_logprob, sequence_probability, answer_disparity, "
            "majority_vote, soft_vote, co_rewarding; a control: random, format, gold; or several, as in A+B.",
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            help="rlsf, instead of the method: sft, majority_pairs, random_pairs; or, training nothing, greedy, "
            "cot_prompt, cot_decoding, cot_decoding_sum, self_consistency.",
        ),
    ] = None,
    engine: Engine = None,
    endpoint: Endpoint = [],  # noqa: B006 - typer copies it
    steps: Annotated[int | None, typer.Option("--steps", help="rlif, rlsc: updates of the policy.")] = None,
    eval_every: Annotated[
        int | None, typer.Option("--eval-every", help="rlif, rlsc: keep and judge a checkpoint every so many steps.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would happen and what it needs; read no weights, write nothing."),
    ] = False,
    devices: Devices = None,
    sharding: Sharding = None,
    seed: Seed = 0,
    config: Config = None,
    set_: Set = [],  # noqa: B006 - typer copies it
) -> None:
    """Run a method from prompts to checkpoint, with its report."""
    from inward.cli import pipeline
    from inward.errors import SettingsError
    from inward.train.processes import planned

    if reward is not None and method != "rlif":
        raise SettingsError(f"--reward is an option of rlif, not of {method}")
    if (engine is not None or endpoint) and method != "rlsf":
        raise SettingsError(f"--engine and --endpoint are options of rlsf, not of {method}")
    if not dry_run and (devices, sharding) != (None, None):
        raise SettingsError("--devices and --sharding are of --dry-run; a run takes both from torchrun or accelerate")
    asked = {
        "reward": ("--reward", reward),
        "optim.steps": ("--steps", steps),
        "optim.save_every": ("--eval-every", eval_every),
        **_of_engine(engine, endpoint),
        **pipeline.of_baseline(baseline),
    }
    with planned(devices, sharding), flags.overrides(asked) as overrides:
        pipeline.run(
            method,
            model,
            prompts,
            out,
            eval_task=eval_task,
            eval_data=eval_data,
            seed=seed,
            config=config,
            overrides=[*overrides, *set_],
            dry_run=dry_run,
        )


@app.command()
def evaluate(
    out: Out,
    model: Annotated[str | None, typer.Option("--model", help="A folder, a hub id, or embedded:NAME.")] = None,
    completions: Annotated[
        Path | None,
        typer.Option("--completions", help="Instead of a model: a file with `completion`, and `id` or `question`."),
    ] = None,
    task: Task = None,
    data: Data = None,
    decoding: Annotated[
        str | None,
        typer.Option("--decoding", help="greedy, cot_prompt, cot_decoding, cot_decoding_sum or self_consistency."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", help="Judge the answers by this model's probability of them, too.")
    ] = None,
    config: Config = None,
    set_: Set = [],  # noqa: B006 - typer copies it
) -> None:
    """Measure accuracy and calibration of a model, or accuracy of completions made elsewhere."""
    from inward.errors import SettingsError

    if (model is None) == (completions is None):
        raise SettingsError("say what to judge: a model (--model) or recorded completions (--completions), one of them")
    asked = {"evaluation.decoding": ("--decoding", decoding), "evaluation.reference": ("--reference", reference)}
    with flags.overrides(asked) as overrides:
        overrides = [*overrides, *set_]
        if completions is not None:
            from inward.cli.completions import evaluate_completions

            evaluate_completions(completions, out, task=task, data=data, config=config, overrides=overrides)
        else:
            from inward.cli import pipeline

            pipeline.evaluate_model(model or "", out, task=task, data=data, config=config, overrides=overrides)


@app.command()
def interpolate(
    from_: Annotated[str, typer.Option("--from", help="The model at ratio 0: a folder, a hub id or embedded:NAME.")],
    to: Annotated[str, typer.Option("--to", help="The model at ratio 1, of the same architecture and vocabulary.")],
    out: Out,
    ratios: Annotated[
        str, typer.Option("--ratios", help="Any numbers, separated by commas; the others are compared with the first.")
    ] = "0,0.25,0.5,0.75,1",
    task: Task = None,
    data: Data = None,
    config: Config = None,
    set_: Set = [],  # noqa: B006 - typer copies it
) -> None:
    """Mix the weights of two models at several ratios, and measure every mix."""
    from inward.cli import mixing

    mixing.mix_and_judge(from_, to, ratios, out, task=task, data=data, config=config, overrides=set_)


@app.command()
def calibrate(
    model: Model,
    prompts: Prompts,
    out: Out,
    method: Annotated[str | None, typer.Option("--method", help="temperature, votes, reference or distill.")] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="The other model of --method reference: a folder, a hub id, embedded:NAME."),
    ] = None,
    seed: Seed = 0,
    config: Config = None,
    set_: Set = [],  # noqa: B006 - typer copies it
) -> None:
    """Fit a confidence to a checkpoint without labels, for `inward evaluate` to use."""
    from inward.cli import calibrating

    asked = {"calibration.method": ("--method", method), "calibration.reference": ("--reference", reference)}
    with flags.overrides(asked) as overrides:
        calibrating.calibrate(model, prompts, out, seed=seed, config=config, overrides=[*overrides, *set_])


@app.command()
def sample(
    model: Model,
    prompts: Prompts,
    out: Out,
    engine: Engine = None,
    endpoint: Endpoint = [],  # noqa: B006 - typer copies it
    seed: Seed = 0,
    config: Config = None,
    set_: Set = [],  # noqa: B006 - typer copies it
) -> None:
    """Stage 1: write traces of every prompt into a run folder."""
    from inward.cli import stages

    with flags.overrides(_of_engine(engine, endpoint)) as overrides:
        stages.sample(model, prompts, out, seed=seed, config=config, overrides=[*overrides, *set_])


@app.command()
def score(folder: Folder) -> None:
    """Stage 2: find each trace's answer and compute every confidence measure."""
    from inward.cli import stages

    stages.score(folder)


@app.command()
def rank(
    folder: Folder,
    out: Annotated[Path | None, typer.Option("--out", help="Write to another folder, under other settings.")] = None,
    set_: Set = [],  # noqa: B006 - typer copies it
) -> None:
    """Stage 3: turn scored traces into preference pairs."""
    from inward.cli import stages

    stages.rank(folder, out, set_)


@app.command()
def train(
    folder: Folder,
    out: Annotated[Path | None, typer.Option("--out", help="Write to another folder, under other settings.")] = None,
    set_: Set = [],  # noqa: B006 - typer copies it
) -> None:
    """Stage 4: train on the pairs."""
    from inward.cli import stages

    stages.train(folder, out, set_)


@app.command()
def diagnose(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")] = False,
) -> None:
    """Say without labels what a training shows of itself, and which of its checkpoints to keep."""
    from inward.cli import diagnosis

    diagnosis.show(folder, as_json=as_json)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="A run folder, or several of rlif or rlsc.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Draw the runs on one page, by group and seed, and write it here.")
    ] = None,
) -> None:
    """Write the report of a run folder again, or one page over several runs."""
    from inward import report as reports
    from inward.errors import SettingsError

    if out is not None:
        typer.echo(reports.build_seeds(folders, out))
    elif len(folders) == 1:
        typer.echo(reports.build(folders[0]))
    else:
        raise SettingsError(
            "several runs go on one page: of rlif or rlsc, by step, with --out seeds.html; of any method, rlsf too, "
            "side by side with inward compare RUN RUN --out compare.html"
        )


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs or evaluations judged on the same problems.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the comparison as a page of HTML to this file.")
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="Every run by itself, also seeds of one method, against the first run given.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Set checkpoints side by side: metrics, paired differences and costs; seeds of one method are one column."""
    from inward.cli import comparing

    comparing.compare(folders, out, each=each, as_json=as_json)


@app.command()
def harness(
    samples: Annotated[
        list[Path], typer.Argument(help="samples_TASK_TIME.jsonl of lm_eval --log_samples, one file a task.")
    ],
    out: Out,
    filter_: Annotated[
        str | None, typer.Option("--filter", help="Of the harness, where a file has several: strict-match, ...")
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="The verdict: acc, acc_norm, exact_match, ... of the harness.")
    ] = None,
) -> None:
    """Report the calibration of what lm-evaluation-harness logged, by its own verdicts, without a model."""
    from inward.cli.harness import judge_samples

    judge_samples(samples, out, filter_name=filter_, metric=metric)


@app.command()
def export(
    folder: Folder,
    form: Annotated[str, typer.Option("--format", help="json, csv or markdown.")] = "json",
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file, not to the terminal.")] = None,
    items: Annotated[
        bool, typer.Option("--items", help="One row per judged trace, instead of one per metric.")
    ] = False,
) -> None:
    """Write the metrics of a run folder, or its judged traces, as a table for other tools."""
    from inward.cli import exporting

    exporting.export(folder, form, out, items=items)


@app.command()
def grade(
    file: Annotated[Path, typer.Argument(help="JSON lines with `prediction` and `gold`.")],
    out: Annotated[Path, typer.Option("--out", help="The same lines with verdicts; what is there is continued.")],
    strict: Annotated[
        bool, typer.Option("--strict", help="Only an announced answer counts: no falling back to the last number.")
    ] = False,
    jobs: Annotated[int | None, typer.Option("--jobs", help="Answers graded at once; one per processor.")] = None,
) -> None:
    """Judge predictions against gold answers: correct, incorrect, no answer, or not to be decided."""
    from inward.cli import grading

    grading.grade_file(file, out, strict=strict, jobs=jobs)


app.command()(unlabelled.probe)
app.command()(unlabelled.choose)


def _of_engine(engine: str | None, endpoints: list[str]) -> dict[str, tuple[str, str | None]]:
    """Settings of what writes the traces, for `flags.overrides`."""
    listed = json.dumps(endpoints) if endpoints else None
    return {"engine": ("--engine", engine), "server.endpoints": ("--endpoint", listed)}


def main() -> None:
    """Run the command line; an error a user can mend is one line, not a traceback."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL reports usage unless told not to
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait spin for microseconds, then sleep. Spinning on, as OpenMP does by default, starves others on
    # shared cores (sampling took five times as long); sleeping at once halves the speed of small models.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        with ending_on_sigterm():
            app()
    except InwardError as error:
        typer.secho(error_label(), fg="red", nl=False, err=True)
        typer.echo(str(error), err=True)
        sys.exit(1)
    except SystemExit as stop:
        if stop.code == 130:  # what typer makes of Ctrl-C
            typer.echo("interrupted; the same command continues where it stopped", err=True)
        elif stop.code == EXIT_CODE and not follows():
            typer.echo("terminated; the same command continues where it stopped", err=True)
        raise
