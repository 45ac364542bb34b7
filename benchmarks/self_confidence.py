"""RLSC against plain fine-tuning: `python benchmarks/self_confidence.py [--steps 5] [--rounds 5] [--json]`.

The embedded base model with its recipe, 32 questions x 16 samples a step. The samples of every step are drawn once from
the start model and timed, and both sides train on them in the same batches; the plain side computes the model's full
logits and its cross-entropy, as a trainer for supervised fine-tuning does. The two take turns; medians are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from inward import organism
from inward.config import run_config
from inward.methods import rlsc
from inward.models import load
from inward.sample import SamplingSettings, sample
from inward.tasks import arithmetic
from inward.train import Samples, self_confidence


def main() -> None:
    """Run both sides in turns and print the ratio of their times."""
    parser = argparse.ArgumentParser(description="RLSC against plain fine-tuning on the same samples.")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    settings = run_config("rlsc", "embedded:base", None, [f"optim.steps={options.steps}"]).settings
    assert isinstance(settings, rlsc.Settings)
    bench = Bench(settings)
    ours, plain = [], []
    for round_number in range(options.rounds + 1):
        started = time.perf_counter()
        with TemporaryDirectory() as work:
            bench.rlsc(Path(work))
        middle = time.perf_counter()
        bench.fine_tune()
        if round_number:  # the first warms up
            ours.append(middle - started)
            plain.append(time.perf_counter() - middle)
    trained, tuned = statistics.median(ours), statistics.median(plain)
    result = {
        "time_over_sft": (trained + bench.drawing) / (tuned + bench.drawing),
        "training_over_sft": trained / tuned,
        "share_of_sampling": bench.drawing / (trained + bench.drawing),
        "seconds_per_step": (trained + bench.drawing) / options.steps,
        "steps": options.steps,
        "rounds": options.rounds,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(result) if options.json else "\n".join(f"{name}: {value}" for name, value in result.items()))


class Bench:
    """Both trainings from the same start on the same samples."""

    def __init__(self, settings: rlsc.Settings) -> None:
        self.model, self.optim = settings.model, settings.optim
        sampling = SamplingSettings(
            strategy="sample",
            group_size=self.optim.group_size,
            temperature=self.optim.temperature,
            max_completion_tokens=self.optim.max_completion_tokens,
        )
        policy = load(organism.path("base"), settings.model)
        self.prompts = arithmetic.prompts(self.optim.prompts_per_step * self.optim.steps, 0)
        started = time.perf_counter()
        groups = list(sample(self.prompts, policy, sampling.params(policy, 0)))
        self.drawing = time.perf_counter() - started
        per_step = self.optim.prompts_per_step
        steps = [groups[start : start + per_step] for start in range(0, len(groups), per_step)]
        self.samples = [
            Samples(
                prompt_ids=[trace.prompt_ids for group in step for trace in group.traces],
                completion_ids=[trace.completion_ids for group in step for trace in group.traces],
                answer_share=[0.0] * per_step * self.optim.group_size,
            )
            for step in steps
        ]

    def rlsc(self, work: Path) -> None:
        """Train as `inward run rlsc` does."""
        self_confidence(
            self.prompts,
            lambda model, asked, step: self.samples[step],
            start=organism.path("base"),
            work=work,
            settings=self.optim,
            model=self.model,
            seed=0,
            at_checkpoint=lambda step, policy, write: False,
        )

    def fine_tune(self) -> None:
        """The same steps of cross-entropy on the same samples, weighted alike."""
        model = load(organism.path("base"), self.model).model
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=self.optim.learning_rate, weight_decay=self.optim.weight_decay
        )
        for samples in self.samples:
            pairs = sorted(
                zip(samples.prompt_ids, samples.completion_ids, strict=True), key=lambda pair: sum(map(len, pair))
            )
            for start in range(0, len(pairs), self.optim.batch_rows):
                batch = pairs[start : start + self.optim.batch_rows]
                ids, mask, labels = padded(batch)
                loss = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
                (loss * len(batch) / len(pairs)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), self.optim.max_grad_norm or float("inf"))
            optimizer.step()
            optimizer.zero_grad()


def padded(batch: Sequence[tuple[Sequence[int], Sequence[int]]]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, attention mask and labels, all [N, T], padded on the right; -100 on what is not to be learned."""
    width = max(len(prompt) + len(completion) for prompt, completion in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, (prompt, completion) in enumerate(batch):
        end = len(prompt) + len(completion)
        ids[row, :end] = torch.tensor((*prompt, *completion))
        mask[row, :end] = 1
        labels[row, len(prompt) : end] = torch.tensor(completion)
    return ids, mask, labels


if __name__ == "__main__":
    main()
