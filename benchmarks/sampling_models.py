"""What `sampling.py` measures on: models, prompts and lengths."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
import string
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from inward import models, organism
from inward.answers import AnswerSettings
from inward.models import ModelSettings, Policy, render
from inward.sample import SamplingSettings
from inward.sample.probe import PROBE_TOKENS, questions_of
from inward.types import Prompt, SamplingParams

SHAPE = "qwen2.5-0.5b-shape"
SHARED = Path(os.environ.get("INWARD_SHARED", Path(__file__).parents[1] / "shared"))
STORY = (
    "Once",
    "upon",
    "a",
    "time",
    "there",
    "was",
    "a",
    "girl",
    ".",
    "She",
    "had",
    "a",
    "red",
    "ball",
    "and",
    "a",
    "dog",
    ".",
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, its prompts and how they are sampled."""

    name: str
    policy: Policy
    prompts: list[Prompt]
    params: SamplingParams
    answer: AnswerSettings

    @property
    def prompt_tokens(self) -> int:
        """Of the longest prompt."""
        return max(len(render(prompt, self.policy)) for prompt in self.prompts)

    @property
    def question_tokens(self) -> int:
        """Of the question; 0 where the tokenizer cannot write it."""
        return max(map(len, questions_of(self.prompts[:1], self.policy, self.answer).values()), default=0)

    @property
    def asked_tokens(self) -> int:
        """Of question and reply."""
        return self.question_tokens + PROBE_TOKENS * bool(self.question_tokens)

    def shortened(self, *, prompts: int, tokens: int) -> Case:
        """The same with fewer prompts and another limit of completion tokens."""
        params = dataclasses.replace(self.params, max_completion_tokens=tokens)
        return dataclasses.replace(self, prompts=self.prompts[:prompts], params=params)


def cases(names: Sequence[str]) -> Iterator[Case]:
    """Each model that is here; those that are not are named on standard error."""
    for name in names:
        folder = SHARED / "models" / name if name == "stories260K" else Path(name)
        if name == SHAPE:
            yield case_of(name, shape(), STORY, num_prompts=1, prompt_tokens=256, new_tokens=16)
        elif name.startswith("embedded:"):
            policy = models.load(organism.path(name.partition(":")[2]), ModelSettings(device="auto"))
            words = ["Q:1+2-3*4+5?\nA:", "Q:9-4*7+2?\nA:"]
            yield case_of(name, policy, words, num_prompts=8, prompt_tokens=96, new_tokens=48, joint="\n")
        elif folder.is_dir():
            policy = models.load(folder, ModelSettings(device="auto"))
            yield case_of(name, policy, STORY, num_prompts=4, prompt_tokens=384, new_tokens=64)
        else:
            print(f"{name} is left out: no folder {folder}", file=sys.stderr)


def case_of(
    name: str,
    policy: Policy,
    words: Sequence[str],
    *,
    num_prompts: int,
    prompt_tokens: int,
    new_tokens: int,
    joint: str = " ",
) -> Case:
    """Prompts of three quarters to the whole of so many tokens, of shuffled words."""
    rng = random.Random(0)
    prompts = []
    for index in range(num_prompts):
        target = round(prompt_tokens * (1 - 0.25 * index / max(1, num_prompts - 1)))
        text = rng.choice(words)
        while len(render(Prompt(id="", text=(more := text + joint + rng.choice(words))), policy)) <= target:
            text = more
        prompts.append(Prompt(id=str(index), text=text))
    rng.shuffle(prompts)
    settings = SamplingSettings(strategy="sample", group_size=16, max_completion_tokens=new_tokens)
    answer = AnswerSettings(kind="text", elicit="never" if name.startswith("embedded:") else "missing")
    return Case(name=name, policy=policy, prompts=prompts, params=settings.params(policy, 0), answer=answer)


def shape() -> Policy:
    """Qwen2.5-0.5B's shape with random weights, and a word for every token."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds

    question = ["So", "the", "answer", "is"]
    letters = ("".join(one) for one in itertools.product(string.ascii_lowercase, repeat=4))
    words = list(dict.fromkeys(itertools.islice(itertools.chain(["<eos>", *question, *STORY], letters), 160_000)))[
        :151_936
    ]
    tokenizer = Tokenizer(kinds.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<eos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        intermediate_size=4864,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
    )
    device = models.pick_device(ModelSettings())
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    model = Qwen2ForCausalLM(config).to(device=device, dtype=dtype).eval()
    model.generation_config = GenerationConfig(eos_token_id=[0], pad_token_id=0)
    return Policy(
        name=SHAPE,
        path=Path(SHAPE),
        model=model,
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>"),
        chat_template="never",
        eos_ids=(0,),
        pad_id=0,
        context=4096,
        default_new_tokens=None,
    )
