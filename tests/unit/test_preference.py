import dataclasses
import json
import math

import pytest
import torch
from token_traces import pair
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from inward.errors import DataError, ModelError, SettingsError
from inward.models import ModelSettings
from inward.train import LoraSettings, PreferenceSettings, preference
from inward.train.preference import config
from inward.train.trainer import newest_checkpoint

CPU = ModelSettings(device="cpu")
FULL = PreferenceSettings(lora=None, learning_rate=1e-3, num_epochs=1, batch_size=4, beta=0.1)


# The second pair's chosen tokens are two that no tokenizer would write next to each other: `so` as one letter each.
PAIRS = [pair((13, 14, 2), (15, 16, 17, 2)), pair((20, 21, 12, 12), (22, 2)), pair((18, 2), (19, 19, 2))]


def run(tmp_path, start, pairs=PAIRS, settings=FULL, **further):
    out, logs = tmp_path / "out", []
    out.mkdir(parents=True, exist_ok=True)
    there = {"start": start, "out": out, "work": tmp_path / "work"}
    done = preference(pairs, **there, settings=settings, model=CPU, seed=0, **{"log": logs.append, **further})
    return out, done, logs


def logprob(model, one):
    ids = torch.tensor([[*one.prompt_ids, *one.completion_ids]])
    log_p = model(ids).logits[0, :-1].log_softmax(-1)
    return log_p.gather(1, ids[0, 1:, None])[len(one.prompt_ids) - 1 :].sum()


def test_first_step_is_dpo_on_the_traces_own_tokens(tmp_path, tiny_model):
    """At the start the policy is the reference: loss ln 2, gradient -beta/2 * d(log p_chosen - log p_rejected)."""
    _, done, logs = run(tmp_path, tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    margin = sum(logprob(model, p.chosen) - logprob(model, p.rejected) for p in PAIRS) / len(PAIRS)
    margin.backward()
    norm = math.sqrt(sum(float((0.05 * p.grad).pow(2).sum()) for p in model.parameters()))
    assert logs[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert logs[0]["grad_norm"] == pytest.approx(norm, rel=1e-3)
    assert (done.num_pairs, done.num_too_long, done.num_steps) == (3, 0, 1)


@pytest.mark.parametrize("lora", [None, LoraSettings()])
def test_the_checkpoint_is_plain_and_prefers_the_chosen(tmp_path, tiny_model, lora):
    settings = PreferenceSettings(lora=lora, learning_rate=5e-3, num_epochs=20, batch_size=3, beta=0.1)
    out, _, logs = run(tmp_path, tiny_model, settings=settings)
    before, after = (AutoModelForCausalLM.from_pretrained(f) for f in (tiny_model, out))
    assert set(before.state_dict()) == set(after.state_dict())
    for one in PAIRS:
        gains = [logprob(after, t) - logprob(before, t) for t in (one.chosen, one.rejected)]
        assert gains[0] > gains[1]
    assert logs[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)  # the reference is the start model
    text = AutoTokenizer.from_pretrained(out)("Q:1+2?\nA:")["input_ids"]
    assert text == AutoTokenizer.from_pretrained(tiny_model)("Q:1+2?\nA:")["input_ids"]


def test_same_seed_same_bytes(tmp_path, tiny_model):
    weights = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        weights.append((run(tmp_path / name, tiny_model)[0] / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_special_tokens_stay_as_they_were(tmp_path, shared):
    """A model without an end of sequence must not be given one: its completions would be cut short."""
    adder = shared("models/adder-qwen3-228")
    out, _, _ = run(tmp_path, adder, pairs=[pair((1, 2), (3, 4))])
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(AutoConfig.from_pretrained(out), name) == getattr(AutoConfig.from_pretrained(adder), name)
    for file in ("tokenizer_config.json", "generation_config.json"):
        assert (out / file).read_bytes() == (adder / file).read_bytes()


def test_long_pairs_are_left_out_and_counted(tmp_path, tiny_model):
    settings = PreferenceSettings(lora=None, max_length=6, num_epochs=1)
    with pytest.warns(UserWarning, match="2 of 3 pairs are longer than optim.max_length = 6"):
        _, done, _ = run(tmp_path, tiny_model, settings=settings)
    assert (done.num_pairs, done.num_too_long) == (1, 2)
    with pytest.raises(DataError, match="all 3 pairs are longer than max_length = 4"):
        run(tmp_path / "work", tiny_model, settings=PreferenceSettings(max_length=4))


def test_the_newest_whole_checkpoint_is_resumed_from(tmp_path):
    for step, state in ((8, '{"global_step": 8}'), (16, '{"global'), (100, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state:
            (folder / "trainer_state.json").write_text(state)
    assert newest_checkpoint(tmp_path) == str(tmp_path / "checkpoint-8")
    assert newest_checkpoint(tmp_path / "none") is None


def test_what_reaches_trl(tmp_path):
    """The paper's settings, by TRL's names: a change here is a change of method."""
    made = config(PreferenceSettings(), work=tmp_path, seed=7, device="cpu", num_pairs=100)
    pinned = {
        "beta": 0.2,
        "learning_rate": 1e-6,
        "num_train_epochs": 3,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "loss_type": ["sigmoid"],
        "label_smoothing": 0.0,
        "f_divergence_type": "reverse_kl",
        "sync_ref_model": False,
        "max_length": None,
        "precompute_ref_log_probs": True,
        "bf16": False,
        "use_cpu": True,
        "seed": 7,
        "save_steps": 7,
    }
    assert {name: getattr(made, name) for name in pinned} == pinned


def test_further_trl_fields_pass_through_and_owned_ones_are_refused(tmp_path):
    settings = PreferenceSettings(trl={"weight_decay": 0.1, "ld_alpha": 0.2})
    made = config(settings, work=tmp_path, seed=0, device="cpu", num_pairs=4)
    assert (made.weight_decay, made.ld_alpha) == (0.1, 0.2)
    with pytest.raises(SettingsError, match=r"trl\.beta is set by inward: use optim\.beta"):
        PreferenceSettings(trl={"beta": 0.5})


def first(tmp_path, start, **settings):
    """Loss, gradient's norm and logged reward margin of the first step, at which the policy is the reference."""
    _, _, logs = run(tmp_path, start, settings=dataclasses.replace(FULL, **settings))
    return [logs[0][key] for key in ("loss", "grad_norm", "rewards/margins")]


@pytest.mark.parametrize(
    ("settings", "loss", "slope"),
    [
        # With d = 0 the sigmoid's slope in d is -1/2.
        ({"label_smoothing": 0.1}, math.log(2), 0.9 * 0.5 - 0.1 * 0.5),
        ({"loss": "robust", "label_smoothing": 0.1}, math.log(2), (0.9 * 0.5 + 0.1 * 0.5) / 0.8),
        ({"loss": "hinge"}, 1.0, 1.0),
        # softplus(m) = log(1 + e^m), its slope sigmoid(m); m = gap = 0.5 and m = exp(gap) = 1.6487.
        ({"margin": "gap"}, math.log(1 + math.exp(0.5)), 1 / (1 + math.exp(-0.5))),
        ({"margin": "exp_gap"}, math.log(1 + math.exp(math.exp(0.5))), 1 / (1 + math.exp(-math.exp(0.5)))),
        ({"loss": "hinge", "margin": "gap"}, 1.5, 1.0),
        (
            {"label_smoothing": 0.1, "margin": "gap"},
            0.9 * math.log(1 + math.exp(0.5)) + 0.1 * math.log(1 + math.exp(-0.5)),
            0.9 / (1 + math.exp(-0.5)) - 0.1 / (1 + math.exp(0.5)),
        ),
    ],
)
def test_losses_at_the_start_by_hand(tmp_path, tiny_model, settings, loss, slope):
    """Every gradient there is that of plain DPO times the loss's slope over the sigmoid's, -1/2."""
    _, plain, _ = first(tmp_path / "plain", tiny_model)
    value, norm, margin = first(tmp_path / "other", tiny_model, **settings)
    assert value == pytest.approx(loss, abs=1e-4)
    assert norm == pytest.approx(plain * slope / 0.5, rel=1e-3)
    asked = {"none": 0.0, "gap": 0.5, "exp_gap": math.exp(0.5)}[settings.get("margin", "none")]
    assert margin == pytest.approx(-asked, abs=1e-4)


def test_ipo_at_the_start(tmp_path, tiny_model):
    """(0 - 1 / (2 * 0.1))^2 = 25."""
    assert first(tmp_path, tiny_model, loss="ipo")[0] == pytest.approx(25, abs=1e-3)


@pytest.mark.parametrize("lora", [None, LoraSettings()])
def test_the_reference_may_be_another_model_than_the_start(tmp_path, tiny_model, lora):
    """The loss of the first step is -log sigmoid(0.1 * (margin of the start - margin of the reference))."""
    moved, _, _ = run(tmp_path / "moved", tiny_model, settings=dataclasses.replace(FULL, num_epochs=5))
    settings = dataclasses.replace(FULL, lora=lora)
    _, _, logs = run(tmp_path / "next", moved, settings=settings, reference=tiny_model)
    start, reference = (AutoModelForCausalLM.from_pretrained(f) for f in (moved, tiny_model))
    margins = [
        sum(sign * logprob(model, t) for model, sign in ((start, 1), (reference, -1)))
        for one in PAIRS
        for t in (one.chosen, one.rejected)
    ]
    d = 0.1 * (torch.stack(margins[::2]) - torch.stack(margins[1::2]))
    assert d.mean() > 0.05
    assert logs[0]["loss"] == pytest.approx(float(-torch.nn.functional.logsigmoid(d.detach()).mean()), abs=1e-4)


STOPPING = dataclasses.replace(FULL, batch_size=1, num_epochs=4, num_saves=48)


def test_training_ends_once_the_mean_margin_over_a_quarter_of_an_epoch_is_reached(tmp_path, tiny_model):
    """Twelve pairs in batches of one: the window is three steps of an epoch's twelve."""
    settings = dataclasses.replace(STOPPING, stop_margin=0.2)
    _, done, logs = run(tmp_path, tiny_model, pairs=PAIRS * 4, settings=settings)
    margins = [entry["rewards/margins"] for entry in logs if "rewards/margins" in entry]
    means = [sum(margins[i - 2 : i + 1]) / 3 for i in range(2, len(margins))]
    assert done.stopped and done.num_steps == len(margins) < 48
    assert means[-1] >= 0.2 > max(means[:-1])
    assert not run(tmp_path / "no", tiny_model, settings=dataclasses.replace(FULL, stop_margin=9.0))[1].stopped


def test_a_training_killed_before_its_stop_stops_where_an_undisturbed_one_does(tmp_path, tiny_model):
    """Every step is saved, so the stop itself would be, and a training resumed from it would go a step too far."""
    settings = dataclasses.replace(STOPPING, stop_margin=0.4)
    out, done, _ = run(tmp_path / "whole", tiny_model, PAIRS * 4, settings)
    assert done.stopped and 4 < done.num_steps < 48

    def killed(entry):
        if entry["step"] == done.num_steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", tiny_model, PAIRS * 4, settings, log=killed)
    for _ in range(2):  # the second as if killed after the stop, before the checkpoint was written
        again, resumed, logs = run(tmp_path / "cut", tiny_model, PAIRS * 4, settings)
        assert resumed == done and logs[0]["step"] == done.num_steps
        assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"label_smoothing": 0.5}, r"label_smoothing must be in \[0, 0.5\)"),
        ({"loss": "ipo", "label_smoothing": 0.1}, "label_smoothing does nothing with loss=ipo"),
        ({"loss": "robust"}, "loss=robust is loss=sigmoid unless label_smoothing"),
        ({"loss": "ipo", "margin": "gap"}, "margin does not go with loss=ipo"),
        ({"margin": "gap", "trl": {"f_divergence_type": "js_divergence"}}, "f_divergence_type=reverse_kl alone"),
        ({"trl": {"label_smoothing": 0.1}}, r"trl\.label_smoothing is set by inward: use optim\.label_smoothing"),
    ],
)
def test_losses_that_do_not_go_together(wrong, error):
    with pytest.raises(SettingsError, match=error):
        PreferenceSettings(**wrong)


@pytest.mark.parametrize("wrong", [{"beta": 0.0}, {"learning_rate": -1.0}, {"num_epochs": 0}, {"max_length": 1}])
def test_settings_out_of_range(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        PreferenceSettings(**wrong)


def test_trainer_state_is_json(tmp_path, tiny_model):
    """Resume reads it to tell a whole checkpoint from a torn one."""
    run(tmp_path, tiny_model)
    (folder,) = (tmp_path / "work").glob("checkpoint-*")
    assert json.loads((folder / "trainer_state.json").read_text())["global_step"] == 1


def test_a_diverged_training_says_so_and_writes_no_checkpoint(tmp_path, tiny_model):
    with pytest.raises(ModelError, match=r"gradient of step 2 is not finite.*lower its learning_rate"):
        run(tmp_path, tiny_model, settings=dataclasses.replace(FULL, learning_rate=1e30, num_epochs=3))
    assert not any((tmp_path / "out").iterdir())
