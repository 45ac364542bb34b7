"""A GRPO script of your own with the policy's certainty as the reward: three lines of it are inward's.

Any other intrinsic reward goes in the same way, `intrinsic_reward("majority_vote", answer=...)`, or several in
one, `intrinsic_reward("soft_vote+self_certainty", weights=[1, 0.5])`.

Run it with `python examples/certainty_in_your_trl_script.py`. Model and prompts are the embedded ones, so that it runs
anywhere.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportPrivateImportUsage]

from inward.organism import path
from inward.tasks import arithmetic
from inward.train import intrinsic_reward  # 1


def main(out: Path, steps: int = 10) -> list[float]:
    """Train for a few steps; returns the mean reward of each."""
    start = path("base")
    tokenizer = AutoTokenizer.from_pretrained(start, padding_side="left")
    prompts = [{"prompt": prompt.text} for prompt in arithmetic.prompts(16 * steps, seed=0)]
    certainty = intrinsic_reward("self_certainty")  # 2
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(start),
        reward_funcs=[certainty],
        callbacks=[certainty.callback],  # 3
        args=GRPOConfig(
            output_dir=str(out),
            max_steps=steps,
            per_device_train_batch_size=128,
            num_generations=8,
            max_completion_length=48,
            learning_rate=1e-4,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            bf16=False,
        ),
        train_dataset=Dataset.from_list(prompts),
        processing_class=tokenizer,
    )
    trainer.train()
    return [row["rewards/self_certainty/mean"] for row in trainer.state.log_history if "reward" in row]


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        rewards = main(Path(folder))
    print("mean self-certainty by step:", " ".join(f"{reward:.2f}" for reward in rewards))
