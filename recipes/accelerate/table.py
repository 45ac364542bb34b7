"""Print the memory table of README.md: `inward run --dry-run` for each model, on 8 and 32 devices."""

import contextlib
import io
import json
import re
import sys
import tempfile
from pathlib import Path
from unittest import mock

from inward.cli import main

HERE = Path(__file__).parent
PLANS = ((1, "none"), (8, "none"), (8, "full"), (32, "full"))
TRAINED = (
    ("all", (), PLANS),
    ("LoRA", ("--set", "optim.lora={}"), PLANS),
    # In parts it is refused.
    ("LoRA, 4 bits", ("--set", "optim.lora={quantization: 4bit}"), PLANS[:2]),
)


def phases(*words: str) -> dict[str, str]:
    """What a dry run says each phase takes on a device."""
    shown = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["inward", *words]),
        contextlib.redirect_stdout(shown),
        contextlib.suppress(SystemExit),
    ):
        main()
    memory = shown.getvalue().partition("\nmemory\n")[2]
    return dict(re.findall(r"^  (\w[^\n]*)\n(?:    [^\n]*\n)*?    in all +([\d.,]+ GiB)", memory, re.MULTILINE))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder, "prompts.jsonl")
        # 600 characters, which a dry run without a tokenizer takes for 200 tokens.
        prompts.write_text(json.dumps({"id": "one", "question": "x" * 600}) + "\n", encoding="utf-8")
        print("| model | trained | devices | sharding | before sharding | training |\n|---|---|---|---|---|---|")
        for model in ("qwen2.5-1.5b", "qwen2.5-7b", "qwen2.5-32b"):
            for trained, lora, plans in TRAINED:
                for devices, sharding in plans:
                    words = ("--model", str(HERE / "models" / model), "--config", str(HERE / "rlsf.yaml"), *lora)
                    plan = ("--dry-run", "--devices", str(devices), "--sharding", sharding)
                    found = phases("run", "rlsf", "--prompts", str(prompts), "--out", "unused", *words, *plan)
                    before = found.get("train: before sharding", "-")
                    print(f"| {model} | {trained} | {devices} | {sharding} | {before} | {found['train']} |", flush=True)
