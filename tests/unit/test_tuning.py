import dataclasses

import pytest
import torch
from token_traces import trace
from transformers import AutoModelForCausalLM

from inward.errors import DataError, ModelError, SettingsError
from inward.models import ModelSettings
from inward.train import LoraSettings
from inward.train.tuning import TuningSettings, config, tuning

CPU = ModelSettings(device="cpu")
FULL = TuningSettings(lora=None, learning_rate=1e-3, num_epochs=1, batch_size=4)


# Of unlike lengths, one without an end of sequence, one with it twice: nothing may be added or left out.
TRACES = [trace((13, 14, 2)), trace((20, 21, 12, 12), (1, 7)), trace((2, 18, 2))]


def run(tmp_path, start, traces=TRACES, settings=FULL, log=None):
    out, logs = tmp_path / "out", []
    out.mkdir(parents=True, exist_ok=True)
    work = tmp_path / "work"
    done = tuning(traces, start=start, out=out, work=work, settings=settings, model=CPU, seed=0, log=log or logs.append)
    return out, done, logs


def logprobs(model, one):
    ids = torch.tensor([[*one.prompt_ids, *one.completion_ids]])
    log_p = model(ids).logits[0, :-1].log_softmax(-1)
    return log_p.gather(1, ids[0, 1:, None])[len(one.prompt_ids) - 1 :, 0]


def test_first_step_is_the_likelihood_of_the_completions_own_tokens(tmp_path, tiny_model):
    """Minus the mean log-probability of all ten completion tokens, and none of a prompt's."""
    _, done, logs = run(tmp_path, tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    loss = -torch.cat([logprobs(model, one) for one in TRACES]).mean()
    loss.backward()
    norm = torch.sqrt(sum(p.grad.pow(2).sum() for p in model.parameters()))
    assert logs[0]["loss"] == pytest.approx(float(loss.detach()), abs=1e-4)
    assert logs[0]["grad_norm"] == pytest.approx(float(norm), rel=1e-3)
    assert (done.num_traces, done.num_too_long, done.num_steps) == (3, 0, 1)


@pytest.mark.parametrize("lora", [None, LoraSettings()])
def test_the_checkpoint_is_plain_and_writes_the_traces(tmp_path, tiny_model, lora):
    settings = dataclasses.replace(FULL, lora=lora, learning_rate=5e-3, num_epochs=20)
    out, _, _ = run(tmp_path, tiny_model, settings=settings)
    before, after = (AutoModelForCausalLM.from_pretrained(folder) for folder in (tiny_model, out))
    assert set(before.state_dict()) == set(after.state_dict())
    assert before.config.pad_token_id == after.config.pad_token_id
    with torch.no_grad():
        assert all(logprobs(after, one).sum() > logprobs(before, one).sum() + 1 for one in TRACES)


def test_a_killed_tuning_ends_in_the_same_bytes(tmp_path, tiny_model):
    settings = dataclasses.replace(FULL, batch_size=1, num_epochs=2, num_saves=6)
    out, done, _ = run(tmp_path / "whole", tiny_model, settings=settings)

    def killed(entry):
        if entry["step"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", tiny_model, settings=settings, log=killed)
    again, resumed, logs = run(tmp_path / "cut", tiny_model, settings=settings)
    assert (resumed, logs[0]["step"]) == (done, 4)
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()


def test_long_traces_are_left_out_and_counted(tmp_path, tiny_model):
    """Lengths 6, 6 and 6; a fourth has 1 + 8."""
    long = trace((3, 4, 5, 6, 7, 8, 9, 2), (1,))
    with pytest.warns(UserWarning, match=r"1 of 4 traces are longer than tuning.max_length = 6"):
        _, done, logs = run(tmp_path, tiny_model, [*TRACES, long], dataclasses.replace(FULL, max_length=6))
    _, _, without = run(tmp_path / "without", tiny_model)
    assert (done.num_traces, done.num_too_long) == (3, 1)
    assert logs[0]["loss"] == without[0]["loss"]
    with pytest.raises(DataError, match=r"all 3 traces are longer than tuning\.max_length = 5"):
        run(tmp_path, tiny_model, settings=dataclasses.replace(FULL, max_length=5))


def test_what_reaches_trl(tmp_path):
    made = config(TuningSettings(), work=tmp_path, seed=7, device="cpu", num_traces=100)
    pinned = {
        "learning_rate": 5e-5,
        "num_train_epochs": 3,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "loss_type": "nll",
        "max_length": None,
        "packing": False,
        "neftune_noise_alpha": None,
        "label_smoothing_factor": 0.0,
        "use_cpu": True,
        "seed": 7,
        "save_steps": 7,
    }
    assert {name: getattr(made, name) for name in pinned} == pinned


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"num_best": 0}, "num_best must be at least 1"),
        ({"max_length": 1}, "max_length at least 2"),
        ({"trl": {"packing": True}}, r"trl\.packing is set by inward: use the method"),
    ],
)
def test_settings_out_of_range(wrong, error):
    with pytest.raises(SettingsError, match=error):
        TuningSettings(**wrong)


def test_what_trl_refuses_is_an_error_of_the_settings(tmp_path):
    with pytest.raises(SettingsError, match="tuning: TRL refuses these settings"):
        config(TuningSettings(trl={"no_such_field": 1}), work=tmp_path, seed=0, device="cpu", num_traces=1)


def test_a_diverged_training_says_so_and_writes_no_checkpoint(tmp_path, tiny_model):
    with pytest.raises(ModelError, match=r"gradient of step 2 is not finite.*lower its learning_rate"):
        run(tmp_path, tiny_model, settings=dataclasses.replace(FULL, learning_rate=1e30, num_epochs=3))
    assert not any((tmp_path / "out").iterdir())
