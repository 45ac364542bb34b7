"""A run of online training that never happened: a curve, monitors, probes and judged checkpoints of RLIF."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import synthetic

from inward.runs import RunFolder
from inward.types import Artifact, EvalItem, Finding, Manifest, Prompt, ScoredGroup, Severity, Source

PIECES = ("3+4=7;", "hmm ", "so ", "#### ")
ACCURACY = (0.50, 0.60, 0.70, 0.40)
"""Greedy accuracy at the judged steps; its lenient sibling lies 0.1 above."""
SUPPORT = (0.40, 0.45, 0.50, 0.30)
REASON = "at step 30 the start model's votes support the answers less than at step 20"
FINDINGS = (
    Finding(
        name="entropy_collapse",
        severity=Severity.WARNING,
        evidence="token entropy fell from 0.5 to 0.01 nats",
        advice="stop earlier, or raise optim.kl",
    ),
    Finding(name="format_gain_only", severity=Severity.NOTE, evidence="it learned to finish.", advice="expect little"),
)


def manifest(
    seed: int = 0, *, reward: str = "self_certainty", start: str = "embedded:base", **optim: object
) -> Manifest:
    return synthetic.manifest(
        method="rlif",
        settings={"reward": reward, "length_norm": "mean", "optim": {"steps": 30, **optim}},
        seed=seed,
        start=Artifact(name=start, sha256="5f" * 32),
        labels_used=reward == "gold",
    )


def point(step: int, accuracy: float, support: float | None, reward: float | None) -> dict[str, object]:
    shares = {
        "greedy_accuracy": accuracy,
        "greedy_accuracy_lenient": accuracy + 0.1,
        "sampled_accuracy": accuracy - 0.1,
        "sampled_accuracy_lenient": accuracy,
        "ece": 0.2 + step / 200,
        "entropy": 1.0 - step / 40,
    }
    metrics: dict[str, object] = {key: synthetic.share(value, 40) for key, value in shares.items()}
    metrics["length"] = synthetic.estimate(20.0 + step / 10, 1.0)
    return {"step": step, **metrics, "support": support, "reward": reward}


def monitor(step: int, *, reward: float) -> dict[str, object]:
    return {
        "step": step, "entropy": 0.8 - step / 50, "reward": reward, "reward_std": 0.3, "answer_rate": 0.9,
        "agreement": 0.4 + step / 100, "top_answer_share": 0.15, "repetition": 0.02 + step / 1000,
        "length": 18.0 + step / 5, "truncated_rate": 0.05, "transitional_ratio": 0.2 - step / 200,
        "kl": None, "traces": 256.0, "transitional_words": {"words": 100, "hmm": 30 - step, "but": 1},
    }  # fmt: skip


def answered(
    prompt: Prompt, gold: str, rights: Sequence[bool], text: str | None = None
) -> tuple[EvalItem, ScoredGroup]:
    """One problem judged: a greedy trace, then samples, right or wrong as told."""
    traces = [
        synthetic.scored(
            [*(PIECES if text is None else (text, *PIECES)), gold if right else "wrong"],
            [0.9, 0.2, 0.6, 1.0, *([0.5] if text is not None else []), 0.8],
            prompt_id=prompt.id,
            index=index,
            source=Source.SAMPLE if index else Source.GREEDY,
            answer=(4 + (text is not None), 5 + (text is not None)),
        )
        for index, right in enumerate(rights)
    ]
    judged = [synthetic.judge(one, gold) for one in traces]
    item = EvalItem(
        prompt_id=prompt.id, gold=gold, greedy=judged[0], tokens=judged[0].length, samples=tuple(judged[1:]),
        majority=judged[1].answer, majority_outcome=judged[1].outcome,
    )  # fmt: skip
    return item, ScoredGroup(prompt=prompt, traces=tuple(traces), confidence="answer_disparity")


def verdicts(step: int, problems: int) -> list[bool]:
    """Greedy verdicts: problem 3 turns wrong at step 20, problem 5 right at step 30; of the others, even ones are."""
    return [{3: step < 20, 5: step >= 30}.get(number, number % 2 == 0) for number in range(problems)]


def judge(folder: RunFolder, name: str, step: int, text: str | None, problems: int = 8) -> None:
    made = [
        answered(Prompt(id=f"q{n}{text or ''}", text=f"Q:{n}+1?{text or ''}"), str(n + 1), (right, True, False), text)
        for n, right in enumerate(verdicts(step, problems))
    ]
    folder.map(f"{name}/scored", [group for _, group in made], list, ScoredGroup, shard_size=16)
    folder.map(f"{name}/items", [item for item, _ in made], list, EvalItem, shard_size=64)
    folder.write_json(f"{name}/report.json", synthetic.evaluation_report([item for item, _ in made], name))


def write(
    path: Path,
    *,
    run: Manifest | None = None,
    accuracy: Sequence[float] = ACCURACY,
    kept: int | None = 20,
    stop: int | None = 30,
    reward: float = -0.5,
    text: str | None = None,
    judged: bool = True,
    **changes: object,
) -> Path:
    """A run folder of 30 steps, judged at 0, 10, 20 and 30, with a monitor at every step but the last.

    Args:
        path: Where.
        run: Its manifest.
        accuracy: At the judged steps.
        kept: The step that was kept.
        stop: Where the rule fired.
        reward: Of the training traces at step 0; it rises by 0.01 a step.
        text: Stands in for every text that a model or a data set may hold.
        judged: Whether judged traces are there.
        changes: Go into summary.json.
    """
    random_ = random.Random(5)
    steps = [10 * number for number in range(len(accuracy))]
    curve = [
        point(step, right, support, None if step == 0 else reward)
        for step, right, support in zip(steps, accuracy, SUPPORT, strict=True)
    ]
    findings = FINDINGS if text is None else [Finding(name=text, severity=Severity.ALARM, evidence=text, advice=text)]
    summary: Mapping[str, object] = {
        "method": "rlif", "task": text or "arithmetic", "before": metrics(curve[0]),
        "after": metrics(curve[-1 if kept is None else steps.index(kept)]),
        "difference": {"greedy_accuracy": synthetic.estimate(0.2, 0.05, 40)}, "curve": curve, "kept_step": kept,
        "stop_step": stop, "stop_reason": text or REASON, "findings": findings, "counts": {"prompts": 20, "steps": 30},
        "seconds": {"train": 2.0}, "warnings": (),
    }  # fmt: skip
    with RunFolder.open(path, run or manifest()) as folder:
        for step in range(steps[-1]):
            folder.log("monitor", **monitor(step, reward=reward + step / 100 + random_.random() / 50))
            folder.log("train", step=step + 1.0, reward=reward, kl=step / 1000)
        for step, mean in zip(steps, SUPPORT, strict=True):
            folder.log("probe", step=step, support=[mean - 0.1, mean, mean + 0.1], entropy=0.5, reward=None)
        if text is not None:
            folder.log("monitor", **monitor(steps[-1], reward=0.0) | {"transitional_words": {text: 2, "words": 9}})
        for step in steps if judged else ():
            judge(folder, {0: "before", kept: "after"}.get(step, f"curve/{step:05d}"), step, text)
        folder.write_json("summary.json", {**summary, **changes})
    return path


def metrics(of: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in of.items() if key not in ("step", "support", "reward")}
