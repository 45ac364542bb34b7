"""One GRPO step in every process that torchrun starts; each writes what it saw to FOLDER/RANK.json."""

import json
import os
import sys
from pathlib import Path

import torch.distributed
from transformers import AutoModelForCausalLM, AutoTokenizer

from inward.answers import AnswerSettings
from inward.methods.watching import Monitor, answers_by_prompt
from inward.models import ModelSettings
from inward.tasks import arithmetic
from inward.train import GroupPolicySettings, IntrinsicReward, certainty, combined, group_policy, majority_vote

SETTINGS = GroupPolicySettings(
    steps=2,
    prompts_per_step=3,
    group_size=4,
    batch_rows=6,
    max_completion_tokens=8,
    learning_rate=1e-3,
    lr_scheduler="constant",
    warmup_steps=0,
    kl=0.0,
    loss="trace_mean",
    save_every=1,
)
ANSWER = AnswerSettings(kind="number")


def main(start: Path, folder: Path) -> None:
    rank = int(os.environ["RANK"])
    steps, logs, told = [], [], []
    reward = certainty("self_certainty")
    reference = AutoModelForCausalLM.from_pretrained(start).eval()
    eos = AutoTokenizer.from_pretrained(start).eos_token_id
    answers = answers_by_prompt(arithmetic.prompts(6, 0), ANSWER)
    vote = majority_vote(answers.__getitem__)
    both = combined([reward, vote], [1.0, 0.5])
    monitor = Monitor(answers=answers, eos_ids=[eos], start=reference, kl_traces=6, temperature=1.0)

    def watch(traces, rewards, policy):
        rows = zip(
            traces.prompt_keys, traces.prompt_ids, traces.completion_ids, traces.completions, rewards, strict=True
        )
        seen = {"monitors": monitor(traces, rewards, policy), "votes": vote(traces), "combined": both(traces)}
        steps.append({"rows": list(rows), **seen})

    def at_checkpoint(step, policy, write):
        told.append(step)
        (folder / f"step-{step}").mkdir()
        write(folder / f"step-{step}")
        return False

    group_policy(
        arithmetic.prompts(6, 0),
        IntrinsicReward("certainty", reward, watch=watch),
        start=start,
        work=folder / "work",
        settings=SETTINGS,
        model=ModelSettings(device="cpu"),
        seed=0,
        at_checkpoint=at_checkpoint,
        log=logs.append,
    )
    (folder / f"{rank}.json").write_text(json.dumps({"steps": steps, "logs": logs, "told": told}))
    # A process that ends with the group still open can abort in gloo's own threads.
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
