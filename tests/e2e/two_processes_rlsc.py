"""Some RLSC steps for each LOSS in every process that is started; each writes what it saw to FOLDER/LOSS/RANK.json."""

import json
import os
import sys
from pathlib import Path

import torch.distributed

from inward.models import ModelSettings, load
from inward.sample import SamplingSettings, sample
from inward.tasks import arithmetic
from inward.train import Samples, SelfConfidenceSettings, self_confidence


def main(start: Path, folder: Path, loss: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rank = os.environ.get("RANK", "0")
    drawn, logs, told = [], [], []
    policy = load(start, ModelSettings(device="cpu"))
    sampling = SamplingSettings(strategy="sample", group_size=3, max_completion_tokens=4)

    def draw(model, asked, step):
        # From the start model throughout: only the update is to be compared, and a sample may flip with the last bit.
        groups = list(sample(asked, policy, sampling.params(policy, step)))
        drawn.append([(group.prompt.id, [list(trace.completion_ids) for trace in group.traces]) for group in groups])
        traces = [trace for group in groups for trace in group.traces]
        return Samples(
            prompt_ids=[trace.prompt_ids for trace in traces],
            completion_ids=[trace.completion_ids for trace in traces],
            answer_share=[0.0] * len(traces),
        )

    def at_checkpoint(step, model, write):
        told.append(step)
        (folder / f"step-{step}").mkdir()
        write(folder / f"step-{step}")
        return step == 4

    steps = self_confidence(
        arithmetic.prompts(6, 0),
        draw,
        start=start,
        work=folder / "work",
        settings=SelfConfidenceSettings(
            steps=6,
            prompts_per_step=4,
            group_size=3,
            temperature=1.0,
            max_completion_tokens=4,
            learning_rate=1e-3,
            batch_rows=4,
            save_every=2,
            loss=loss,
        ),
        model=ModelSettings(device="cpu"),
        seed=0,
        at_checkpoint=at_checkpoint,
        log=logs.append,
    )
    (folder / f"{rank}.json").write_text(json.dumps({"drawn": drawn, "logs": logs, "told": told, "steps": steps}))


if __name__ == "__main__":
    for name in sys.argv[3:]:
        main(Path(sys.argv[1]), Path(sys.argv[2]) / name, name)
    # A process that ends with the group still open can abort in gloo's own threads.
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
