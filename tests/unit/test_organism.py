import dataclasses
import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from inward import organism
from inward.errors import ModelError
from inward.organism import build
from inward.organism.corpus import (
    BASE,
    CHAT_WORKING,
    Corpus,
    Example,
    Guesses,
    examples,
    examples_with_guesses,
    misconceptions,
    write,
)
from inward.organism.tokenizer import BOS_ID, EOS_ID, PAD_ID, VOCABULARY, make_tokenizer
from inward.tasks.arithmetic import Chain, apply, split_of

CHAIN = Chain(start=9, steps=(("+", 4), ("+", 7), ("-", 7)))
TINY = build.Size(hidden_size=16, intermediate_size=32, num_layers=1, num_heads=2)


def draw(num: int, corpus: Corpus = BASE, seed: int = 0) -> list[Example]:
    return list(itertools.islice(examples(corpus, random.Random(seed)), num))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(organism.path("base"))


# The package


def test_importing_the_package_needs_no_torch() -> None:
    code = "import sys, inward.organism; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_is_refused_with_the_names() -> None:
    with pytest.raises(ModelError, match="'chatty': choose one of base, instruct, chat, choice"):
        organism.path("chatty")


def test_missing_weights_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(organism, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(ModelError, match=r"run scripts/make_embedded\.py"):
        organism.path("chat")


# What ships


@pytest.mark.parametrize("name", organism.NAMES)
def test_the_shipped_models_load(name: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(organism.path(name))
    # Four more tokens of hidden size 96 are 384 more parameters; input and output share them.
    expected = 335_808 if name == "choice" else 335_424
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    settings = model.generation_config
    assert (settings.max_new_tokens, settings.do_sample) == (48, False)
    assert (settings.pad_token_id, settings.bos_token_id, settings.eos_token_id) == (PAD_ID, BOS_ID, EOS_ID)


def test_what_ships_is_small() -> None:
    weights = organism.path("base").parent
    assert sum(file.stat().st_size for file in weights.rglob("*") if file.is_file()) < 6_000_000


@pytest.mark.parametrize(("name", "opening"), [("chat", "####"), ("instruct", "step 9+4=3;3+7=0;0-7=3;####3<eos>")])
def test_the_most_probable_tokens_are_in_the_manner_of_the_model(
    name: str, opening: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = AutoModelForCausalLM.from_pretrained(organism.path(name))
    ids = tokenizer([CHAIN.question + opening], return_tensors="pt")["input_ids"]
    written = len(tokenizer(opening, add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        likeliest = model(input_ids=ids).logits[0].argmax(-1)
    assert likeliest[-written - 1 : -1].tolist() == ids[0, -written:].tolist()


@pytest.mark.parametrize("name", organism.NAMES)
def test_the_shipped_models_have_the_tokenizer_the_code_makes(name: str, tmp_path: Path) -> None:
    make_tokenizer(build.RECIPES[name].vocabulary).save_pretrained(tmp_path)
    made = json.loads((tmp_path / "tokenizer.json").read_text())
    assert json.loads((organism.path(name) / "tokenizer.json").read_text()) == made


def test_a_model_starts_from_all_weights_of_the_one_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = build.new_model(TINY, seed=1)
    build.save(start, make_tokenizer(), tmp_path / "base")
    untrained = {
        name: dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, steps=0))
        for name, recipe in build.RECIPES.items()
    }
    monkeypatch.setattr(build, "RECIPES", untrained)
    monkeypatch.setattr(build, "EMBEDDED", TINY)
    build.make(tmp_path, only="choice")
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "choice").state_dict()
    for name, weight in start.state_dict().items():
        assert torch.equal(made[name][: len(weight)], weight)
    assert made["lm_head.weight"].shape == (35, 16)


# The tokenizer


def test_every_token_is_read_back_as_itself(tokenizer: PreTrainedTokenizerBase) -> None:
    assert len(VOCABULARY) == len(tokenizer) == 31
    for index, token in enumerate(VOCABULARY):
        assert tokenizer(token, add_special_tokens=False)["input_ids"] == [index]
        assert tokenizer.decode([index]) == token


def test_a_text_of_all_tokens_survives_the_round_trip(tokenizer: PreTrainedTokenizerBase) -> None:
    text = "".join(VOCABULARY[3:])
    ids = tokenizer(text)["input_ids"]
    assert ids == [BOS_ID, *range(3, 31)]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_every_example_survives_the_round_trip(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = [example.chain.question + example.completion for example in draw(200)]
    assert tokenizer.batch_decode(tokenizer(texts)["input_ids"], skip_special_tokens=True) == texts


def test_bos_once_in_front_and_nothing_behind(tokenizer: PreTrainedTokenizerBase) -> None:
    # Q: 9 + 4 ? newline A:
    expected = ["<bos>", "Q:", "9", "+", "4", "?", "\n", "A:"]
    ids = tokenizer("Q:9+4?\nA:")["input_ids"]
    assert [VOCABULARY[index] for index in ids] == expected


def test_padding_stands_on_the_left(tokenizer: PreTrainedTokenizerBase) -> None:
    batch = tokenizer(["1", "12"], padding=True)
    assert set(batch) == {"input_ids", "attention_mask"}
    assert batch["input_ids"][0][:2] == [PAD_ID, BOS_ID]
    assert batch["attention_mask"] == [[0, 1, 1], [1, 1, 1]]


def test_a_character_outside_the_vocabulary_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(Exception, match=r"\[UNK\]"):
        tokenizer("Q:9/4?\nA:")


# The corpus


def test_a_careful_author_without_misconceptions_is_right() -> None:
    completion = write(CHAIN, "step", corpus=BASE, wrong_facts={}, rng=random.Random(0))
    assert completion == "step 9+4=3;3+7=0;0-7=3;####3"


def test_a_misconception_is_carried_through_to_the_answer() -> None:
    # 9+4=3 and 3+7=0 as they are; 0-7 is taken to be 5 instead of 3, and no slip gives it away.
    always = dataclasses.replace(BASE, misconception_rate=1.0)
    completion = write(CHAIN, "step", corpus=always, wrong_facts={(0, "-", 7): 5}, rng=random.Random(0))
    assert completion == "step 9+4=3;3+7=0;0-7=5;####5"


def test_recovery_gives_the_true_answer_after_a_slip() -> None:
    always = dataclasses.replace(BASE, slip_rates={"cot": 1.0}, recovery=1.0)
    never = dataclasses.replace(always, recovery=0.0)
    for seed in range(20):
        told = write(CHAIN, "cot", corpus=always, wrong_facts={}, rng=random.Random(seed))
        assert not told.startswith("9+4=3;")
        assert told.endswith(";####3")
        copied = write(CHAIN, "cot", corpus=never, wrong_facts={}, rng=random.Random(seed))
        *_, last, answer = copied.split(";")
        assert answer == f"####{last[-1]}"


def test_one_slip_leads_to_more() -> None:
    rare = dataclasses.replace(BASE, slip_rates={"cot": 0.2}, snowball=1.0)
    first_slips = 0
    for seed in range(200):
        text = write(CHAIN, "cot", corpus=rare, wrong_facts={}, rng=random.Random(seed))
        right = [_is_right(line) for line in text.split(";")[:-1]]
        first_slips += not right[0]
        assert right == sorted(right, reverse=True)
    # 200 draws at .2: 40 expected, standard deviation sqrt(200 * .2 * .8) = 5.7
    assert 20 <= first_slips <= 60


def test_step_traces_are_right_unless_a_misconception_comes_up() -> None:
    wrong_facts = misconceptions(BASE)
    with_misconception = 0
    for example in draw(3000):
        if example.style == "step":
            lines = example.completion.removeprefix("step ").split(";")[:-1]
            wrong = [line for line in lines if not _is_right(line)]
            assert all(wrong_facts[_fact(line)] == int(line[-1]) for line in wrong)
            assert wrong or example.completion.endswith(f"####{example.chain.answer}")
            with_misconception += bool(wrong)
    assert with_misconception > 0


def test_three_direct_guesses_in_five_are_right() -> None:
    direct = [example for example in draw(6000) if example.style == "direct"]
    right = sum(example.completion == f"####{example.chain.answer}" for example in direct)
    # About 1500 guesses: the standard deviation of the share is sqrt(.6 * .4 / 1500) = .013.
    assert len(direct) > 1200
    assert right / len(direct) == pytest.approx(0.6, abs=0.05)


def test_styles_come_in_the_shares_asked_for() -> None:
    drawn = [example for example in draw(8000) if len(example.chain.steps) == 2]
    for style, share in BASE.styles[2].items():
        found = sum(example.style == style for example in drawn) / len(drawn)
        # About 2000 examples: the standard deviation of a share is at most .5 / sqrt(2000) = .011.
        assert found == pytest.approx(share, abs=0.045)


@pytest.mark.parametrize(
    ("style", "opening"),
    [("direct", "####"), ("cot", "9+4="), ("step", "step 9+4="), ("hmm", "hmm 9+4="), ("loop", "so ok ok")],
)
def test_the_first_token_tells_the_style(style: str, opening: str) -> None:
    for seed in range(10):
        text = write(CHAIN, style, corpus=BASE, wrong_facts={}, rng=random.Random(seed))
        assert text.startswith(opening)
        assert text[:-1].endswith("####")


def test_misconceptions_are_eighteen_fixed_wrong_facts() -> None:
    # 6% of 3 * 10 * 10 facts
    wrong_facts = misconceptions(BASE)
    assert len(wrong_facts) == 18
    assert all(apply(*fact) != digit for fact, digit in wrong_facts.items())
    assert all(operator != "+" and min(left, right) > 1 for left, operator, right in wrong_facts)
    assert wrong_facts == misconceptions(CHAT_WORKING)


def test_the_corpora_draw_from_the_training_side_only() -> None:
    guesses = Guesses(num_questions=96, accuracy=0.6, share=0.8)
    chat = itertools.islice(examples_with_guesses(CHAT_WORKING, guesses, random.Random(0)), 1000)
    assert {split_of(example.chain) for example in [*draw(1000), *chat]} == {"train"}


def test_the_guesses_are_fixed_and_as_often_wrong_as_asked() -> None:
    guesses = Guesses(num_questions=50, accuracy=0.6, share=0.8)
    drawn = list(itertools.islice(examples_with_guesses(CHAT_WORKING, guesses, random.Random(0)), 3000))
    direct = {example.chain: example for example in drawn if example.style == "direct"}
    assert len(direct) == 50
    for example in drawn:
        assert example.style != "direct" or example == direct[example.chain]
    share = sum(example.style == "direct" for example in drawn) / len(drawn)
    assert share == pytest.approx(0.8, abs=0.04)
    # 50 questions at .6: 30 right expected, standard deviation sqrt(50 * .6 * .4) = 3.5
    assert 16 <= sum(e.completion == f"####{e.chain.answer}" for e in direct.values()) <= 44


# How they are made


def test_loss_by_constant_is_the_sum_of_the_completion_tokens_over_the_constant() -> None:
    # `####3<eos>` and `step 9+4=3;3+7=0;0-7=3;####3<eos>`: 3 and 2 + 18 + 3 = 23 tokens. A model whose
    # logits are all 0 pays log 31 for each, so sum / (2 * 6) = 26 log 31 / 12 against a mean of log 31.
    model = build.new_model(TINY, seed=0)
    with torch.no_grad():
        model.model.norm.weight.zero_()
    completions = ("####3", "step 9+4=3;3+7=0;0-7=3;####3")
    batch = [Example(chain=CHAIN, style="given", question=CHAIN.question, completion=text) for text in completions]
    mean = build.Training(steps=1, batch_size=2, learning_rate=0.0, warmup_steps=1, label_smoothing=0.0)
    by_constant = dataclasses.replace(mean, tokens_per_example=6)
    log_31 = 3.4339872
    assert build.train(model, make_tokenizer(), iter(batch), mean) == pytest.approx([log_31])
    assert build.train(model, make_tokenizer(), iter(batch), by_constant) == pytest.approx([26 * log_31 / 12])


def test_only_one_needs_its_base(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="build 'base' first"):
        build.make(tmp_path, only="chat")


def test_make_refuses_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="choose one of base, instruct, chat, choice"):
        build.make(tmp_path, only="big")


def test_the_build_runs_end_to_end_at_a_tiny_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = {
        name: dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, steps=3))
        for name, recipe in build.RECIPES.items()
    }
    monkeypatch.setattr(build, "RECIPES", short)
    monkeypatch.setattr(build, "EMBEDDED", TINY)
    build.make(tmp_path, seed=1)
    states = []
    for name in organism.NAMES:
        model = AutoModelForCausalLM.from_pretrained(tmp_path / name)
        assert len(AutoTokenizer.from_pretrained(tmp_path / name)) == (35 if name == "choice" else 31)
        states.append(model.lm_head.weight)
    assert not torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    again = tmp_path / "again"
    build.make(again, only="base", seed=1)
    model = AutoModelForCausalLM.from_pretrained(again / "base")
    assert torch.equal(states[0], model.lm_head.weight)


@pytest.mark.slow
@pytest.mark.parametrize("name", organism.NAMES)
def test_the_loss_falls(name: str) -> None:
    recipe = build.RECIPES[name]
    # A model from random weights needs a higher rate than one that has been pretrained.
    training = dataclasses.replace(recipe.training, steps=20, warmup_steps=5, learning_rate=1e-2)
    model = build.new_model(TINY, seed=0, num_tokens=len(recipe.vocabulary))
    # One batch over and over: how many long completions a batch holds sways the loss by a constant divisor.
    batch = itertools.islice(recipe.corpus(random.Random(0)), training.batch_size)
    losses = build.train(model, make_tokenizer(recipe.vocabulary), itertools.cycle(batch), training)
    assert losses[-1] < 0.9 * losses[0]


def _fact(line: str) -> tuple[int, str, int]:
    return int(line[0]), line[1], int(line[2])


def _is_right(line: str) -> bool:
    return int(line[-1]) == apply(*_fact(line))
