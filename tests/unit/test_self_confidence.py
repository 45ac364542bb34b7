"""The loop of RLSC on a tiny random model and given samples, held against the model's own logits."""

import dataclasses
import math
import random
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from inward.errors import ModelError, SettingsError
from inward.models import ModelSettings
from inward.tasks import arithmetic
from inward.train import LoraSettings, Samples, SelfConfidenceSettings, check_self_confidence, self_confidence

CPU = ModelSettings(device="cpu")
SETTINGS = SelfConfidenceSettings(
    steps=1,
    prompts_per_step=2,
    group_size=3,
    temperature=1.0,
    max_completion_tokens=5,
    learning_rate=1e-3,
    batch_rows=4,
    save_every=1,
)
PROMPTS = arithmetic.prompts(6, 0)
EOS = 2


def changed(**values):
    return dataclasses.replace(SETTINGS, **values)


def samples(prompts, step, group_size=3):
    """Completions of 1 to 5 tokens, end of sequence included, keyed by prompt, index and step."""
    prompt_ids, completion_ids, shares = [], [], []
    for prompt in prompts:
        stream = random.Random(f"{prompt.id}/{step}")
        question = [1, *stream.choices(range(3, 31), k=stream.randint(2, 5))]
        for _ in range(group_size):
            prompt_ids.append(question)
            completion_ids.append([*stream.choices(range(3, 31), k=stream.randint(0, 4)), EOS])
            shares.append(stream.choice([0.0, 1 / 3, 2 / 3]))
    return Samples(prompt_ids=prompt_ids, completion_ids=completion_ids, answer_share=shares)


class Trained:
    """What a training did: drawn samples, metrics, what it told of, and the folders it wrote."""

    def __init__(self):
        self.drawn, self.asked, self.logs, self.told, self.steps = [], [], [], [], 0

    @property
    def last(self):
        return self.told[-1][1]

    @property
    def weights(self):
        return load_file(self.last / "model.safetensors")


def train(tmp_path, start, settings=SETTINGS, *, draw=None, stop_after=None, end_at=None, name="out"):
    """Train; `stop_after` raises KeyboardInterrupt once that step is logged."""
    done = Trained()
    (tmp_path / name).mkdir(parents=True, exist_ok=True)

    def given(model, asked, step):
        assert not model.training
        made = (draw or (lambda model, asked, step: samples(asked, step)))(model, asked, step)
        done.drawn.append(made)
        done.asked.append(([prompt.id for prompt in asked], step))
        return made

    def at_checkpoint(step, policy, write):
        folder = tmp_path / name / f"step-{step}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write(folder)
        done.told.append((step, folder))
        return step == end_at

    def log(metrics):
        done.logs.append(metrics)
        if metrics["step"] == stop_after:
            raise KeyboardInterrupt

    done.steps = self_confidence(
        PROMPTS,
        given,
        start=start,
        work=tmp_path / "work",
        settings=settings,
        model=CPU,
        seed=0,
        at_checkpoint=at_checkpoint,
        log=log,
    )
    return done


def interrupt(*args, **kwargs):
    with pytest.raises(KeyboardInterrupt):
        train(*args, **kwargs)


def data(folder):
    return (folder / "model.safetensors").read_bytes()


def own_terms(start, made, temperature):
    """Summed log-probability, summed entropy and length of each completion, by the model's own full logits."""
    model = AutoModelForCausalLM.from_pretrained(start)
    terms = []
    for prompt, completion in zip(made.prompt_ids, made.completion_ids, strict=True):
        ids = torch.tensor([[*prompt, *completion]])
        log_p = (model(ids).logits[0, len(prompt) - 1 : -1] / temperature).log_softmax(-1)
        chosen = log_p.gather(1, torch.tensor(completion)[:, None])
        terms.append((chosen.sum(), -(log_p.exp() * log_p).sum(), len(completion)))
    return model, terms


def norm_of(model, loss):
    loss.backward()
    return math.sqrt(sum(float(p.grad.pow(2).sum()) for p in model.parameters()))


WEIGHTS = {
    "sequence": lambda logprob, length, share: math.exp(logprob),
    "length_normalised": lambda logprob, length, share: math.exp(logprob / length),
    "answer": lambda logprob, length, share: share,
    "none": lambda logprob, length, share: 0.0,
}


@pytest.mark.parametrize(
    ("weight", "alpha", "scoring"),
    [
        ("sequence", 0.0, None),
        ("sequence", 0.1, 0.5),
        ("length_normalised", 0.0, 0.7),
        ("length_normalised", 0.1, None),
        ("answer", 0.0, None),
        ("answer", 0.1, 2.0),
        ("none", 0.1, 0.5),
    ],
)
def test_first_step_is_the_weighted_likelihood_of_the_given_samples(tmp_path, tiny_model, weight, alpha, scoring):
    """Gradient of -mean over samples of (w + alpha) log p(y), log p(y) summed over tokens at the scoring temperature.

    The norm that is logged is that before clipping.
    """
    settings = changed(weight=weight, alpha=alpha, scoring_temperature=scoring, max_grad_norm=1e-3)
    done = train(tmp_path, tiny_model, settings)
    model, terms = own_terms(tiny_model, done.drawn[0], scoring or 1.0)
    weights = [
        WEIGHTS[weight](logprob.item(), length, share)
        for (logprob, _, length), share in zip(terms, done.drawn[0].answer_share, strict=True)
    ]
    loss = -sum((w + alpha) * logprob for w, (logprob, *_) in zip(weights, terms, strict=True)) / 6
    (logged,) = done.logs
    assert logged["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert logged["grad_norm"] == pytest.approx(norm_of(model, loss), rel=1e-4)
    assert logged["logprob_sum"] == pytest.approx(sum(one[0].item() for one in terms) / 6, rel=1e-4)
    assert logged["weight_mean"] == pytest.approx(sum(weights) / 6, rel=1e-4)
    assert logged["weight_max"] == pytest.approx(max(weights), rel=1e-4)
    assert logged["alpha_share"] == pytest.approx(6 * alpha / (6 * alpha + sum(weights)), rel=1e-4)
    tokens = sum(one[2] for one in terms)
    assert logged["train_length"] == pytest.approx(tokens / 6)
    assert logged["train_entropy"] == pytest.approx(sum(one[1].item() for one in terms) / tokens, rel=1e-4)


@pytest.mark.parametrize("scoring", [1.0, 0.5])
@pytest.mark.parametrize("loss", ["entropy_sum", "entropy_token_mean"])
def test_first_step_of_entropy_minimisation(tmp_path, tiny_model, loss, scoring):
    """entropy_sum: mean over the 6 samples of their summed entropies; token_mean: mean over all tokens."""
    done = train(tmp_path, tiny_model, changed(loss=loss, scoring_temperature=scoring))
    model, terms = own_terms(tiny_model, done.drawn[0], scoring)
    lengths = sum(one[2] for one in terms)
    assert lengths != 6
    expected = sum(one[1] for one in terms) / (6 if loss == "entropy_sum" else lengths)
    assert done.logs[0]["loss"] == pytest.approx(expected.item(), rel=1e-4)
    assert done.logs[0]["grad_norm"] == pytest.approx(norm_of(model, expected), rel=1e-4)


def test_the_sampling_temperature_scores_unless_another_is_given(tmp_path, tiny_model):
    assert SelfConfidenceSettings().scored_at == 0.5
    assert SelfConfidenceSettings(scoring_temperature=1.0).scored_at == 1.0
    by_default = train(tmp_path / "a", tiny_model, changed(temperature=0.5))
    said = train(tmp_path / "b", tiny_model, changed(temperature=2.0, scoring_temperature=0.5))
    other = train(tmp_path / "c", tiny_model, changed(temperature=0.5, scoring_temperature=1.0))
    assert by_default.logs == said.logs
    assert by_default.logs[0]["grad_norm"] != pytest.approx(other.logs[0]["grad_norm"], rel=0.01)


def test_training_raises_the_collision_probability(tmp_path, tiny_model):
    """The one given sample gains probability; its weight, which is its probability, with it."""
    fixed = Samples(prompt_ids=[[1, 5, 6]], completion_ids=[[7, EOS]], answer_share=[0.0])
    done = train(tmp_path, tiny_model, changed(steps=8, learning_rate=1e-2, save_every=8), draw=lambda *_: fixed)
    weights = [one["weight_mean"] for one in done.logs]
    assert weights == sorted(weights) and weights[-1] > 5 * weights[0]


@pytest.mark.parametrize("loss", ["rlsc", "entropy_sum", "entropy_token_mean"])
def test_the_size_of_micro_batches_changes_nothing(tmp_path, tiny_model, loss):
    """Also a check of padding: alone no row has any. 6 samples in batches of 1, of 4 and 2, of all."""
    runs = [
        train(tmp_path / str(rows), tiny_model, changed(steps=2, save_every=2, batch_rows=rows, loss=loss))
        for rows in (1, 4, 6)
    ]
    start = load_file(tiny_model / "model.safetensors")
    for name, value in runs[0].weights.items():
        for other in runs[1:]:
            torch.testing.assert_close(other.weights[name], value, atol=1e-6, rtol=0)
    assert max(float((value - start[name]).abs().max()) for name, value in runs[0].weights.items()) > 1e-3
    for key, value in runs[0].logs[1].items():
        assert [run.logs[1][key] for run in runs[1:]] == pytest.approx([value] * 2, rel=1e-4), key


@pytest.mark.parametrize("loss", ["rlsc", "entropy_sum"])
def test_r9_the_sum_over_samples_is_as_many_times_the_mean(tmp_path, tiny_model, loss):
    mean, total = (
        train(tmp_path / how, tiny_model, changed(reduction=how, loss=loss)).logs[0] for how in ("mean", "sum")
    )
    for key in ("loss", "grad_norm"):
        assert total[key] == pytest.approx(6 * mean[key], rel=1e-5)
    assert total["logprob_sum"] == mean["logprob_sum"]


def test_r9_the_order_of_samples_does_not_matter(tmp_path, tiny_model):
    def turned(model, asked, step):
        made = samples(asked, step)
        return Samples(**{field.name: getattr(made, field.name)[::-1] for field in dataclasses.fields(made)})

    straight = train(tmp_path / "a", tiny_model, changed(weight="answer"))
    reverse = train(tmp_path / "b", tiny_model, changed(weight="answer"), draw=turned)
    assert reverse.logs[0] == pytest.approx(straight.logs[0], rel=1e-4)


def test_what_fills_the_padding_does_not_matter(tmp_path, tiny_model, monkeypatch):
    usual = train(tmp_path / "a", tiny_model, changed(batch_rows=6))
    loop = sys.modules["inward.train.self_confidence"]
    monkeypatch.setattr(loop, "load_tokenizer", lambda *_: SimpleNamespace(pad_token_id=17))
    assert data(train(tmp_path / "b", tiny_model, changed(batch_rows=6)).last) == data(usual.last)


def test_the_tokens_of_the_prompt_are_not_trained(tmp_path, tiny_model):
    """Entropy and log-probability of the prompt's own tokens would enter with every further one of them."""
    made = Samples(prompt_ids=[[1, 9, 9, 9, 9]], completion_ids=[[EOS]], answer_share=[0.0])
    done = train(tmp_path, tiny_model, changed(weight="none", alpha=1.0), draw=lambda *_: made)
    log_p = AutoModelForCausalLM.from_pretrained(tiny_model)(torch.tensor(made.prompt_ids)).logits[0].log_softmax(-1)
    assert done.logs[0]["loss"] == pytest.approx(-log_p[-1, EOS].item(), rel=1e-5)
    assert done.logs[0]["train_length"] == 1


def test_the_sampler_gives_no_token_after_the_end_of_sequence(tmp_path, tiny_model):
    """So that every token of a completion counts, its end of sequence included: p(EOS) is part of p(y)."""
    made = Samples(prompt_ids=[[1, 9]] * 2, completion_ids=[[7], [7, EOS]], answer_share=[0.0] * 2)
    done = train(tmp_path, tiny_model, draw=lambda *_: made)
    _, ((cut, *_), (ended, *_)) = own_terms(tiny_model, made, 1.0)
    assert ended.item() < cut.item() - 0.1
    assert done.logs[0]["weight_max"] == pytest.approx(math.exp(cut.item()), rel=1e-4)
    assert done.logs[0]["weight_mean"] == pytest.approx((math.exp(cut.item()) + math.exp(ended.item())) / 2, rel=1e-4)


def test_empty_completions_have_no_weight(tmp_path, tiny_model):
    """Neither in the loss nor in what it is divided by."""

    def with_empty(model, asked, step):
        made = samples(asked, step)
        return Samples(
            prompt_ids=[[1, 5], *made.prompt_ids, [1, 6]],
            completion_ids=[[], *made.completion_ids, []],
            answer_share=[1.0, *made.answer_share, 1.0],
        )

    plain, padded = train(tmp_path / "a", tiny_model), train(tmp_path / "b", tiny_model, draw=with_empty)
    assert padded.logs == plain.logs
    assert data(padded.last) == data(plain.last)


def test_every_step_asks_for_other_prompts_with_its_own_number(tmp_path, tiny_model):
    done = train(tmp_path, tiny_model, changed(steps=4, save_every=4))
    assert [step for _, step in done.asked] == [0, 1, 2, 3]
    asked = [name for names, _ in done.asked for name in names]
    assert sorted(asked[:6]) == sorted(prompt.id for prompt in PROMPTS)
    assert len(set(asked[:6])) == 6


def test_without_regeneration_the_start_models_samples_are_drawn_once(tmp_path, tiny_model):
    """Also after a stop: the samples are those of the start model, not of the one that training goes on from."""
    embedded: list[torch.Tensor] = []

    def watched(model, asked, step):
        embedded.append(model.get_input_embeddings().weight.detach().clone())
        return samples(asked, step)

    settings = changed(steps=4, regenerate=False)
    whole = train(tmp_path / "whole", tiny_model, settings, draw=watched)
    assert [step for _, step in whole.asked] == [0]
    assert whole.asked == [train(tmp_path / "other", tiny_model).asked[0]]
    assert len(whole.logs) == 4
    interrupt(tmp_path, tiny_model, settings, draw=watched, stop_after=3)
    assert data(train(tmp_path, tiny_model, settings, draw=watched).last) == data(whole.last)
    start = AutoModelForCausalLM.from_pretrained(tiny_model).get_input_embeddings().weight
    assert len(embedded) == 3 and all(torch.equal(one, start) for one in embedded)


@pytest.mark.parametrize("lora", [None, LoraSettings()])
def test_checkpoints_are_plain_and_move(tmp_path, tiny_model, lora):
    done = train(tmp_path, tiny_model, changed(steps=2, lora=lora, learning_rate=1e-2))
    assert [step for step, _ in done.told] == [1, 2]
    start = AutoModelForCausalLM.from_pretrained(tiny_model).state_dict()
    first, second = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for _, folder in done.told)
    assert set(first) == set(second) == set(start)
    for one, other in ((start, first), (first, second)):
        moved = {name for name in start if not torch.equal(one[name], other[name])}
        assert moved == {name for name in start if lora is None or "q_proj" in name or "v_proj" in name}
    assert (done.last / "tokenizer.json").read_bytes() == (tiny_model / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("lora", [None, LoraSettings()])
def test_dropout_stays_off(tmp_path, tiny_model, lora):
    """The weight is the probability under the policy that sampled, not under one thinned at random."""
    model = LlamaForCausalLM.from_pretrained(tiny_model)
    model.config.attention_dropout = 0.9
    model.save_pretrained(tmp_path / "thin")
    for file in tiny_model.glob("tokenizer*"):
        shutil.copy(file, tmp_path / "thin")
    plain = train(tmp_path / "a", tiny_model, changed(lora=lora))
    thinned = train(tmp_path / "b", tmp_path / "thin", changed(lora=lora))
    assert thinned.logs == plain.logs


@pytest.mark.parametrize("lora", [None, LoraSettings()])
@pytest.mark.parametrize("save_every", [1, 2])
def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path, tiny_model, save_every, lora):
    """Stopped after step 3: goes on after step 3, or where every second step is saved, after step 2."""
    settings = changed(steps=5, save_every=save_every, lora=lora, learning_rate=1e-2)
    whole = train(tmp_path / "whole", tiny_model, settings)
    interrupt(tmp_path, tiny_model, settings, stop_after=3, name="stopped")
    assert [folder.name for folder in (tmp_path / "work").iterdir()] == ["checkpoint-2"]
    resumed = train(tmp_path, tiny_model, settings, name="resumed")
    assert [one["step"] for one in resumed.logs] == [3, 4, 5]
    assert resumed.asked == whole.asked[2:]
    assert resumed.logs == whole.logs[2:]
    assert data(resumed.last) == data(whole.last)
    assert [step for step, _ in resumed.told] == {1: [2, 3, 4, 5], 2: [2, 4, 5]}[save_every]


def test_a_training_that_is_done_is_not_done_again(tmp_path, tiny_model):
    done = train(tmp_path, tiny_model, changed(steps=2))
    again = train(tmp_path, tiny_model, changed(steps=2), name="again")
    assert again.steps == 2 and not again.logs
    assert data(again.last) == data(done.last)


@pytest.mark.parametrize("damage", ["unfinished", "short", "empty", "missing"])
def test_a_torn_trainer_checkpoint_is_survived(tmp_path, tiny_model, damage):
    whole = train(tmp_path / "whole", tiny_model, changed(steps=4))
    interrupt(tmp_path, tiny_model, changed(steps=4), stop_after=3)
    state = tmp_path / "work/checkpoint-2/state.pt"
    half = state.read_bytes()[: state.stat().st_size // 2]
    if damage == "missing":
        state.unlink()
    elif damage == "unfinished":
        (tmp_path / "work/unfinished-3").mkdir()
        (tmp_path / "work/unfinished-3/state.pt").write_bytes(half)
    else:
        state.write_bytes(half if damage == "short" else b"")
    resumed = train(tmp_path, tiny_model, changed(steps=4))
    assert resumed.logs[0]["step"] == (3 if damage == "unfinished" else 1)
    assert data(resumed.last) == data(whole.last)
    assert [folder.name for folder in (tmp_path / "work").iterdir()] == ["checkpoint-4"]


def test_the_last_step_is_told_of_wherever_it_falls(tmp_path, tiny_model):
    done = train(tmp_path, tiny_model, changed(steps=5, save_every=2))
    assert [step for step, _ in done.told] == [2, 4, 5]


def test_a_training_ends_where_it_is_told_to(tmp_path, tiny_model):
    done = train(tmp_path, tiny_model, changed(steps=5, save_every=2), end_at=2)
    assert done.steps == len(done.logs) == 2
    again = train(tmp_path, tiny_model, changed(steps=5, save_every=2), end_at=2)
    assert again.steps == 2 and not again.logs


def test_progress_counts_the_steps(tmp_path, tiny_model):
    seen = []
    for _ in range(2):
        self_confidence(
            PROMPTS,
            lambda model, asked, step: samples(asked, step),
            start=tiny_model,
            work=tmp_path / "work",
            settings=changed(steps=2),
            model=CPU,
            seed=0,
            at_checkpoint=lambda step, policy, write: False,
            progress=lambda done, total: seen.append((done, total)),
        )
    assert seen == [(0, 2), (1, 2), (2, 2), (2, 2)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        *(
            ({name: 0}, f"{name} must be at least 1, got 0")
            for name in ("steps", "prompts_per_step", "group_size", "batch_rows", "save_every", "max_completion_tokens")
        ),
        ({"temperature": 0.0}, "temperature, scoring_temperature and learning_rate must be above 0"),
        ({"scoring_temperature": 0.0}, "temperature, scoring_temperature and learning_rate must be above 0"),
        ({"learning_rate": 0.0}, "temperature, scoring_temperature and learning_rate must be above 0"),
        ({"alpha": -0.1}, "alpha and weight_decay must be at least 0"),
        ({"weight_decay": -0.1}, "alpha and weight_decay must be at least 0"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be above 0, or null for none, got 0.0"),
        ({"weight": "none", "alpha": 0.0}, "nothing would be learned"),
    ],
)
def test_settings_out_of_range(wrong, message):
    with pytest.raises(SettingsError, match=message):
        SelfConfidenceSettings(**wrong)


def test_a_weight_is_refused_where_entropy_is_minimised():
    with pytest.raises(SettingsError, match="weight=answer does nothing under loss=entropy_sum"):
        SelfConfidenceSettings(loss="entropy_sum", weight="answer")


def test_what_does_not_fit_the_model_or_the_processes_is_refused(tiny_model, monkeypatch):
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    check_self_confidence(SETTINGS, model)
    with pytest.raises(SettingsError, match="no module called nonsense"):
        check_self_confidence(changed(lora=LoraSettings(target_modules=("nonsense",))), model)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(SettingsError, match="prompts_per_step = 2 does not divide among 4 processes"):
        check_self_confidence(SETTINGS, model)


def test_a_prompt_met_twice_in_a_step_has_an_id_of_its_own(tmp_path, tiny_model):
    done = train(tmp_path, tiny_model, changed(prompts_per_step=8))
    ((ids, _),) = done.asked
    assert len(set(ids)) == 8
    assert {name.removesuffix("#2") for name in ids} == {prompt.id for prompt in PROMPTS}
    assert sum(name.endswith("#2") for name in ids) == 2


def test_a_diverged_training_says_so_and_loses_no_checkpoint(tmp_path, tiny_model):
    with pytest.raises(ModelError, match=r"gradient of step 2 is not finite.*lower its learning_rate"):
        train(tmp_path, tiny_model, changed(steps=3, learning_rate=1e30))
    assert [step.name for step in (tmp_path / "out").iterdir()] == ["step-1"]
