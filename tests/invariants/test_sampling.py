"""What a trace is must not depend on how it was computed: batch, padding, cache, memory, second pass."""

import copy
import dataclasses
import json
import math
import shutil
from collections import Counter

import pytest
import torch

from inward import answers, models
from inward.answers import AnswerSettings
from inward.batch import SIGNALS
from inward.errors import DataError, SettingsError
from inward.models import ModelSettings
from inward.sample import SamplingSettings, fitting, probe, sample
from inward.sample import decode as decoding_module
from inward.score.by_model import forward_signals
from inward.signals import completion_logits
from inward.types import FinishReason, Prompt, Source

CPU = ModelSettings(device="cpu")
PROMPTS = [Prompt(id=f"q{i}", text=text) for i, text in enumerate(["Q:1+2?\nA:", "Q:9-4*7+2?\nA:", "step 3", "0"])]
BOTH = SamplingSettings(strategy="both", group_size=5, num_branches=4, max_completion_tokens=12)


@pytest.fixture(scope="module")
def policy(tiny_model):
    return models.load(tiny_model, CPU)


def groups(policy, prompts=PROMPTS, settings=BOTH, seed=0, **options):
    return list(sample(prompts, policy, settings.params(policy, seed), **options))


def ids(made):
    return {(t.prompt_id, t.index): t.completion_ids for group in made for t in group.traces}


def assert_close(made, signals, tolerance=1e-4):
    for trace, other in zip(made, signals, strict=True):
        for name in SIGNALS:
            assert getattr(trace.signals, name) == pytest.approx(getattr(other, name), abs=tolerance), name


def test_recorded_signals_equal_a_forward_pass(policy):
    for group in groups(policy):
        assert_close(group.traces, forward_signals(group.traces, policy))


def test_recorded_signals_equal_a_forward_pass_on_a_trained_model(shared):
    stories = models.load(shared("models/stories260K"), CPU)
    prompts = [Prompt(id="a", text="Once upon a time"), Prompt(id="b", text="The dog was very sad. He")]
    traces = [t for group in groups(stories, prompts) for t in group.traces]
    assert_close(traces, forward_signals(traces, stories))


def test_greedy_tokens_are_those_of_plain_generation_and_signals_those_of_float64(shared):
    """Prompts of unlike length in one batch, beside `generate` on each alone and a forward pass in double precision."""
    stories = models.load(shared("models/stories260K"), CPU)
    texts = ("Once upon a time", "Tom", "The dog was very sad. He said to the girl that he was")
    prompts = [Prompt(id=text, text=text) for text in texts]
    settings = SamplingSettings(strategy="sample", group_size=3, max_completion_tokens=40)
    made = list(sample(prompts, stories, dataclasses.replace(settings.params(stories, 0), strategy="evaluate")))
    assert [group.prompt for group in made] == prompts
    exact = copy.deepcopy(stories.model).double()
    for group in made:
        greedy, prompt = group.traces[0], torch.tensor([group.traces[0].prompt_ids])
        plain = stories.model.generate(  # pyright: ignore[reportCallIssue]
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=40, do_sample=False
        )
        assert greedy.completion_ids == tuple(plain[0, prompt.shape[1] :].tolist())
        for trace in group.traces:
            tokens = torch.tensor([trace.completion_ids])
            with torch.no_grad():
                logits = exact(torch.cat([prompt, tokens], 1)).logits
            aligned = completion_logits(logits, tokens.shape[1])
            p = aligned.log_softmax(-1)
            own = p.gather(-1, tokens[..., None]).squeeze(-1)
            others = p.scatter(-1, tokens[..., None], -torch.inf).amax(-1)
            expected = {
                "logprob": own,
                "entropy": -(p.exp() * p).sum(-1),
                "self_certainty": -p.mean(-1) - math.log(p.shape[-1]),
                "disparity": own.exp() - others.exp(),
            }
            for name, values in expected.items():
                assert getattr(trace.signals, name) == pytest.approx(values[0].tolist(), abs=1e-4), name


ASKED = AnswerSettings(kind="text", elicit="missing")


@pytest.mark.parametrize("plain", [False, True], ids=["cache", "no cache"])
@pytest.mark.parametrize(("share", "rows"), [(0.25, 16), (0.0, 1)])
def test_asking_while_the_cache_is_there_gives_what_reading_all_again_gives(shared, monkeypatch, plain, share, rows):
    """Where rows leave in company, where each leaves by itself, and where no cache can be kept."""
    stories = models.load(shared("models/stories260K"), CPU)
    stories = dataclasses.replace(stories, eos_ids=(*stories.eos_ids, *stories.tokenizer(".")["input_ids"][-1:]))
    stories.model.generation_config.eos_token_id = list(stories.eos_ids)
    prompts = [Prompt(id=text, text=text) for text in ("Once upon a time", "Tom", "One day, a bird saw a big tree. It")]
    settings = SamplingSettings(strategy="both", group_size=8, num_branches=4, max_completion_tokens=14)
    expected = list(probe(groups(stories, prompts, settings), stories, ASKED))
    monkeypatch.setattr(decoding_module, "LEAVE_SHARE", share)
    monkeypatch.setattr(decoding_module, "LEAVE_ROWS", rows)
    if plain:
        monkeypatch.setattr(decoding_module, "prefill", lambda *args: None)
    made = groups(stories, prompts, settings, answer=ASKED)
    assert ids(made) == ids(expected)
    assert [[t.answer_probe for t in g.traces] for g in made] == [[t.answer_probe for t in g.traces] for g in expected]
    assert {t.finish_reason for g in made for t in g.traces} == {FinishReason.STOP, FinishReason.LENGTH}
    assert len({len(t.completion_ids) for g in made for t in g.traces}) > 5


def test_asking_reads_no_prompt_and_no_completion_again(shared):
    """The model is fed each prompt once per group, one token a step, and then the last token and the question alone."""
    stories = models.load(shared("models/stories260K"), CPU)
    settings = SamplingSettings(strategy="sample", group_size=8, max_completion_tokens=30)
    prompts = [Prompt(id="a", text="Once upon a time there was a little girl")]
    fed = []
    hook = stories.model.register_forward_pre_hook(
        lambda _model, _args, kwargs: fed.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    (group,) = groups(stories, prompts, settings, answer=ASKED)
    hook.remove()
    question = stories.tokenizer(" So the answer is", add_special_tokens=False)["input_ids"]
    assert all(trace.answer_probe is not None for trace in group.traces)
    assert [shape for shape in fed if shape[1] > 1] == [
        (1, len(group.traces[0].prompt_ids) - 1),
        (8, 1 + len(question)),
    ]


def test_only_traces_without_a_readable_answer_are_asked(shared, monkeypatch):
    stories = models.load(shared("models/stories260K"), CPU)
    settings = SamplingSettings(strategy="sample", group_size=12, max_completion_tokens=20)
    prompts = [Prompt(id="a", text="Once upon a time")]
    monkeypatch.setattr(answers, "find", lambda text, *_, **__: "found" if len(text) % 2 else None)
    (group,) = groups(stories, prompts, settings, answer=ASKED)
    assert [t.answer_probe is None for t in group.traces] == [bool(len(t.completion) % 2) for t in group.traces]
    assert len({t.answer_probe is None for t in group.traces}) == 2
    (every,) = groups(stories, prompts, settings, answer=dataclasses.replace(ASKED, elicit="always"))
    assert all(trace.answer_probe is not None for trace in every.traces)
    (never,) = groups(stories, prompts, settings, answer=dataclasses.replace(ASKED, elicit="never"))
    assert all(trace.answer_probe is None for trace in never.traces)


def test_prompts_of_like_length_share_a_batch_and_groups_keep_their_order(policy, monkeypatch):
    seen, whole = [], decoding_module._decode_batch

    def watched(policy, prompts, rows, *rest):
        seen.append([len(prompts[row.prompt]) for row in rows])
        return whole(policy, prompts, rows, *rest)

    monkeypatch.setattr(decoding_module, "_decode_batch", watched)
    prompts = [Prompt(id=str(n), text="1" * n) for n in (3, 9, 1, 12, 5)]
    made = groups(policy, prompts, dataclasses.replace(BOTH, strategy="greedy"), batch_rows=2)
    assert [group.prompt.id for group in made] == ["3", "9", "1", "12", "5"]
    assert seen == [[13, 10], [6, 4], [2]]  # with the token that begins each


def test_a_smaller_memory_makes_smaller_batches_and_the_same_traces(policy, monkeypatch):
    monkeypatch.setattr(fitting, "PREFILL_TOKENS", 0)
    sizes, whole = [], decoding_module._decode_batch

    def watched(policy, prompts, rows, *rest):
        sizes.append(len(rows))
        return whole(policy, prompts, rows, *rest)

    monkeypatch.setattr(decoding_module, "_decode_batch", watched)
    expected = ids(groups(policy))
    assert sizes == [36]
    assert ids(groups(policy, memory_gib=0.0003)) == expected
    assert 1 < max(sizes[1:]) < 36


def test_batch_size_and_company_do_not_change_a_trace(policy):
    together = ids(groups(policy))
    assert ids(groups(policy, batch_rows=3)) == together
    assert ids(groups(policy, prompts=PROMPTS[::-1])) == together
    alone = ids(groups(policy, prompts=PROMPTS[1:2]))
    assert alone == {key: value for key, value in together.items() if key[0] == "q1"}


def test_seeds_change_samples_and_not_branches(policy):
    first, second = groups(policy, seed=0), groups(policy, seed=1)
    for source, same in ((Source.BRANCH, True), (Source.SAMPLE, False)):
        a, b = ([t.completion_ids for g in made for t in g.traces if t.source is source] for made in (first, second))
        assert (a == b) is same


def test_one_prefill_per_group_gives_what_plain_generation_gives(policy, monkeypatch):
    prefilled = groups(policy)
    monkeypatch.setattr(decoding_module, "prefill", lambda *args: None)
    plain = groups(policy)
    assert ids(prefilled) == ids(plain)
    for a, b in zip(prefilled, plain, strict=True):
        assert_close(a.traces, [t.signals for t in b.traces], tolerance=1e-5)


def test_running_out_of_memory_halves_the_batch_and_changes_nothing(policy, monkeypatch):
    expected, sizes, whole = ids(groups(policy)), [], decoding_module._decode_batch

    def small(policy, prompts, rows, *rest):
        sizes.append(len(rows))
        if len(rows) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(policy, prompts, rows, *rest)

    monkeypatch.setattr(decoding_module, "_decode_batch", small)
    assert ids(groups(policy)) == expected
    # 36 rows do not fit, nor 18, nor 9; once 4 do, no larger batch is tried, and nothing is decoded twice.
    assert sizes == [36, 18, 9, *[4] * 9]


def test_other_errors_are_not_taken_for_memory(policy, monkeypatch):
    def broken(*args):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(decoding_module, "_decode_batch", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        groups(policy)


def test_the_models_own_generation_config_does_not_bend_the_signals(tiny_model, policy, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "bent")
    own = json.loads((folder / "generation_config.json").read_text())
    bent = own | {
        "repetition_penalty": 3.0,
        "do_sample": True,
        "temperature": 0.1,
        "top_k": 2,
        "no_repeat_ngram_size": 1,
    }
    (folder / "generation_config.json").write_text(json.dumps(bent))
    assert ids(groups(models.load(folder, CPU))) == ids(groups(policy))


def test_branches_take_the_most_probable_first_tokens_but_never_the_end(tiny_model, policy):
    (group,) = groups(policy, prompts=PROMPTS[:1], settings=dataclasses.replace(BOTH, strategy="branch"))
    prompt = torch.tensor([group.traces[0].prompt_ids])
    with torch.no_grad():
        order = policy.model(prompt).logits[0, -1].argsort(descending=True).tolist()
    expected = [token for token in order if token not in policy.eos_ids][:4]
    assert [t.completion_ids[0] for t in group.traces] == expected
    # All of it is greedy after the first token: the disparity of an argmax is never negative.
    assert all(value >= 0 for t in group.traces for value in t.signals.disparity[1:])
    assert group.traces[2].signals.disparity[0] < 0


def test_a_model_cannot_branch_further_than_its_vocabulary(policy):
    wide = SamplingSettings(strategy="branch", num_branches=1000, max_completion_tokens=1)
    assert wide.params(policy, 0).num_branches == 30


def test_samples_follow_the_models_distribution(policy):
    many = SamplingSettings(strategy="sample", group_size=4000, max_completion_tokens=1, batch_rows=4000)
    for temperature, top_p in ((1.0, 1.0), (0.5, 0.8)):
        settings = dataclasses.replace(many, temperature=temperature, top_p=top_p)
        (group,) = groups(policy, prompts=PROMPTS[:1], settings=settings, batch_rows=4000)
        with torch.no_grad():
            logits = policy.model(torch.tensor([group.traces[0].prompt_ids])).logits[0, -1]
        p = (logits / temperature).softmax(-1)
        ordered, order = p.sort(descending=True)
        kept = order[(ordered.cumsum(0) - ordered) < top_p].tolist()
        expected = {token: float(p[token] / p[kept].sum()) for token in kept}
        drawn = Counter(t.completion_ids[0] for t in group.traces)
        assert set(drawn) <= set(kept)
        for token, share in expected.items():
            # Five standard deviations of a binomial share.
            assert abs(drawn[token] / 4000 - share) < 5 * (share * (1 - share) / 4000) ** 0.5 + 1e-9


def test_signals_are_at_temperature_one_whatever_the_sampling_temperature(policy):
    (cold,) = groups(policy, prompts=PROMPTS[:1], settings=dataclasses.replace(BOTH, temperature=0.3))
    assert_close(cold.traces, forward_signals(cold.traces, policy))


def test_completions_stop_at_the_end_of_sequence_and_say_so(policy):
    for group in groups(policy, settings=dataclasses.replace(BOTH, group_size=40, max_completion_tokens=20)):
        for trace in group.traces:
            stopped = trace.completion_ids[-1] == 2
            assert 2 not in trace.completion_ids[:-1]
            assert trace.finish_reason is (FinishReason.STOP if stopped else FinishReason.LENGTH)
            assert len(trace.completion_ids) == len(trace.token_ends) == len(trace.signals.logprob)
            assert stopped or len(trace.completion_ids) == 20


def test_no_row_runs_past_the_context_and_the_user_is_told(policy):
    long = Prompt(id="long", text="1+2" * 20)
    settings = dataclasses.replace(BOTH, max_completion_tokens=30)
    with pytest.warns(UserWarning, match="some prompts leave less than max_completion_tokens = 30"):
        made = groups(policy, prompts=[*PROMPTS, long], settings=settings)
    assert max(len(t.completion_ids) for t in made[-1].traces) <= 64 - 61
    assert ids(made[:-1]) == ids(groups(policy, settings=settings))


def test_a_prompt_that_fills_the_context_is_refused(policy):
    with pytest.raises(DataError, match=r"whole context of .*, 64 tokens: long \(1 in all\)"):
        groups(policy, prompts=[Prompt(id="long", text="1" * 70)])


def test_a_model_without_end_of_sequence_has_completions_of_fixed_length(shared):
    adder = models.load(shared("models/adder-qwen3-228"), CPU)
    made = groups(adder, prompts=[Prompt(id="a", text="0" * 24)], settings=SamplingSettings())
    assert {len(t.completion_ids) for t in made[0].traces} == {11}
    assert {t.finish_reason for t in made[0].traces} == {FinishReason.FIXED}
    assert len(made[0].traces) == 10


@pytest.mark.filterwarnings("ignore:some prompts leave less")
@pytest.mark.parametrize("family", ["gpt2", "mistral"])
def test_other_architectures(family, tmp_path, tiny_model):
    """GPT-2 has learned positions and no room beyond them; Mistral's sliding window takes the plain path."""
    from transformers import AutoModelForCausalLM, GPT2Config, MistralConfig

    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "vocab_size": 31, "initializer_range": 0.4}
    config = {
        "gpt2": lambda: GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=24, **special),
        "mistral": lambda: MistralConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            sliding_window=6,
            max_position_embeddings=64,
            **special,
        ),
    }[family]()
    torch.manual_seed(0)
    folder = shutil.copytree(tiny_model, tmp_path / family)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    policy = models.load(folder, CPU)
    made = groups(policy, settings=dataclasses.replace(BOTH, max_completion_tokens=20))
    for group in made:
        assert_close(group.traces, forward_signals(group.traces, policy))


def test_bfloat16(tiny_model):
    half = models.load(tiny_model, ModelSettings(device="cpu", dtype="bfloat16"))
    assert half.model.dtype is torch.bfloat16
    for group in groups(half):
        assert_close(group.traces, forward_signals(group.traces, half), tolerance=0.15)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": 0.0}, "strategy=greedy"),
        ({"top_p": 0.0}, "top_p"),
        ({"group_size": 0}, "at least 1"),
        ({"batch_rows": 0}, "at least 1"),
        ({"memory_gib": 0.0}, "memory_gib must be above 0"),
    ],
)
def test_settings_out_of_range(wrong, message):
    with pytest.raises(SettingsError, match=message):
        SamplingSettings(**wrong)
