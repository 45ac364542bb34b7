"""RLSF on the embedded chat model, in one file: sample, score, rank, DPO, and judge before and after.

    python examples/rlsf_in_one_file.py --out rlsf-example

What `inward run rlsf` adds to this: a run folder that survives a kill, settings from files, intervals and a report.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from inward import AnswerSettings, ModelSettings, PairSettings, PreferenceSettings, SamplingSettings, organism
from inward.evaluate import judge
from inward.models import Policy, load
from inward.rank import pairs
from inward.sample import sample
from inward.score import score
from inward.tasks import arithmetic
from inward.train import preference
from inward.types import Outcome, Problem

ANSWER = AnswerSettings(kind="number", strict=True, elicit="never")
"""The number after `####`; the model is not asked for it, since its 31 tokens cannot write the question."""


def accuracy(policy: Policy, problems: Sequence[Problem]) -> float:
    """Share of right greedy answers. The gold answers of `problems` are read here and nowhere else."""
    greedy = SamplingSettings(strategy="greedy").params(policy, seed=0)
    scored = score(sample([problem.prompt for problem in problems], policy, greedy), ANSWER)
    verdicts = [item.greedy.outcome for item in judge(scored, problems, ANSWER.kind)]
    return verdicts.count(Outcome.CORRECT) / len(verdicts)


def main() -> None:
    """Train, and print greedy accuracy before and after."""
    options = argparse.ArgumentParser(description="RLSF in one file.")
    options.add_argument("--out", type=Path, required=True, help="folder for the trained checkpoint")
    options.add_argument("--prompts", type=int, default=256, help="training questions")
    options.add_argument("--problems", type=int, default=320, help="test questions")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    start, problems = organism.path("chat"), arithmetic.problems(chosen.problems, seed=1)
    policy = load(start, ModelSettings())
    print(f"greedy accuracy before: {accuracy(policy, problems):.3f}")

    # 1. The frozen model writes traces: i.i.d. samples, and CoT branches that start with its 10 likeliest first tokens.
    sampling = SamplingSettings(strategy="both", group_size=16, num_branches=10).params(policy, chosen.seed)
    groups = sample(arithmetic.prompts(chosen.prompts, chosen.seed), policy, sampling)

    # 2. Confidence: p(token) minus its strongest rival's, averaged over the tokens of the final answer.
    scored = score(groups, ANSWER, confidence="answer_disparity")

    # 3. Of each question the 4 surest traces are preferred to the 4 least sure ones, whatever they answer.
    rule = PairSettings(rule="best_worst", num_best=4, gamma=None, min_gap=0.02, keep_truncated=False, max_pairs=1024)
    made = pairs(scored, rule, seed=chosen.seed)
    print(f"{len(made)} pairs; the widest gap is {max(pair.gap for pair in made):.2f}")

    # 4. DPO on the traces' own token ids.
    optim = PreferenceSettings(beta=0.1, learning_rate=3e-4, batch_size=64, num_epochs=3, warmup_steps=5, lora=None)
    chosen.out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as work:
        model, out = ModelSettings(), chosen.out
        preference(made, start=start, out=out, work=Path(work), settings=optim, model=model, seed=chosen.seed)

    print(f"greedy accuracy after:  {accuracy(load(chosen.out, ModelSettings()), problems):.3f}")


if __name__ == "__main__":
    main()
