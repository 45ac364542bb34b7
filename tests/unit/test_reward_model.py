import dataclasses
import math
import shutil

import pytest
import torch
from token_traces import PROMPT, pair
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from inward import forward
from inward.batch import TokenSignals
from inward.errors import DataError, ModelError, SettingsError
from inward.models import ModelSettings, load_model
from inward.train import (
    LoraSettings,
    RewardModelSettings,
    StepTraces,
    check_reward_model,
    load_reward_model,
    model_reward,
    reward_model,
    sequence_rewards,
)
from inward.train.reward_model import config

CPU = ModelSettings(device="cpu")
FULL = RewardModelSettings(lora=None, learning_rate=1e-3, num_epochs=1, batch_size=4)


PAIRS = [
    pair((13, 14, 2), (15, 16, 17, 2), 0.5),
    pair((20, 21, 12, 12), (22, 2), 1.0),
    pair((18, 2), (19, 19, 2), 0.1),
]


def run(tmp_path, start, pairs=PAIRS, settings=FULL, log=None, name="out"):
    out, logs = tmp_path / name, []
    out.mkdir(parents=True)
    work = tmp_path / "work"
    done = reward_model(
        pairs, start=start, out=out, work=work, settings=settings, model=CPU, seed=0, log=log or logs.append
    )
    return out, done, logs


def by_hand(model, ids):
    """The head on the last token's state, one sequence at a time, with nothing padded."""
    states = model.base_model(torch.tensor([ids])).last_hidden_state
    return (states[0, -1] @ model.score.weight.T)[0]


def difference(model, one):
    return by_hand(model, [*PROMPT, *one.chosen.completion_ids]) - by_hand(
        model, [*PROMPT, *one.rejected.completion_ids]
    )


def fresh(start, seed=0):
    """The reward model that a training with this seed begins with."""
    torch.manual_seed(seed)
    return load_model(start, CPU, scalar_head=True)


@pytest.mark.parametrize("margin", [True, False])
def test_first_loss_is_bradley_terry_on_the_traces_own_tokens(tmp_path, tiny_model, margin):
    """-log sigmoid(r_chosen - r_rejected - exp(gap)), its mean over pairs and its gradient, from single sequences."""
    _, done, logs = run(tmp_path, tiny_model, settings=dataclasses.replace(FULL, margin=margin))
    model = fresh(tiny_model)
    losses = [
        -torch.log(torch.sigmoid(difference(model, one) - (math.exp(one.gap) if margin else 0.0))) for one in PAIRS
    ]
    loss = sum(losses) / 3
    loss.backward()
    norm = math.sqrt(sum(float(p.grad.pow(2).sum()) for p in model.parameters()))
    assert logs[0]["loss"] == pytest.approx(float(loss.detach()), abs=1e-4)
    assert logs[0]["grad_norm"] == pytest.approx(norm, rel=1e-3)
    assert (done.num_pairs, done.num_too_long, done.num_steps) == (3, 0, 1)


@pytest.mark.parametrize("lora", [None, LoraSettings()])
def test_the_folder_is_plain_and_prefers_the_chosen(tmp_path, tiny_model, lora):
    settings = RewardModelSettings(lora=lora, learning_rate=2e-2, num_epochs=30, batch_size=3)
    out, _, logs = run(tmp_path, tiny_model, settings=settings)
    model = load_reward_model(out, CPU)
    assert all(float(difference(model, one)) > 1.0 for one in PAIRS)
    assert logs[0]["loss"] > 3 * logs[-2]["loss"]
    plain = AutoModelForSequenceClassification.from_pretrained(out)
    assert {"score.weight", "model.norm.weight"} < set(plain.state_dict())
    assert not any("lora" in name or "modules_to_save" in name for name in plain.state_dict())
    assert plain.config.num_labels == 1
    assert (out / "tokenizer.json").read_bytes() == (tiny_model / "tokenizer.json").read_bytes()


def test_lora_trains_the_whole_head_and_leaves_the_embeddings(tmp_path, tiny_model):
    out, _, _ = run(tmp_path, tiny_model, settings=RewardModelSettings(learning_rate=1e-2, num_epochs=2))
    after, before = load_reward_model(out, CPU), fresh(tiny_model)
    moved = {n for n, p in before.named_parameters() if not torch.equal(p, after.get_parameter(n))}
    layers = {f"model.layers.{i}.self_attn.{name}_proj.weight" for i in (0, 1) for name in "qv"}
    assert moved == {"score.weight", *layers}


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path, tiny_model):
    for lora in (None, LoraSettings()):
        settings = dataclasses.replace(FULL, lora=lora, num_epochs=4, batch_size=2, num_saves=8)
        here = tmp_path / str(bool(lora))
        whole, done, _ = run(here / "whole", tiny_model, settings=settings)
        assert done.num_steps == 8
        steps = []

        def stop(metrics, steps=steps):
            steps.append(metrics["step"])
            if metrics["step"] == 5:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(here, tiny_model, settings=settings, log=stop, name="stopped")
        resumed, _, logs = run(here, tiny_model, settings=settings)
        assert logs[0]["step"] == 5
        assert (resumed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_long_pairs_are_left_out_and_counted(tmp_path, tiny_model):
    """Sequences of 6 and 7, 7 and 5, 5 and 6 tokens."""
    with pytest.warns(UserWarning, match="2 of 3 pairs are longer than the reward model's max_length = 6"):
        _, done, logs = run(tmp_path, tiny_model, settings=dataclasses.replace(FULL, max_length=6))
    assert (done.num_pairs, done.num_too_long) == (1, 2)
    assert logs[0]["num_tokens"] == 11
    with pytest.raises(DataError, match="all 3 pairs are longer than max_length = 4"):
        run(tmp_path / "none", tiny_model, settings=dataclasses.replace(FULL, max_length=4))


def test_no_pair_is_dropped_for_being_longer_than_trls_default(tmp_path, tiny_model):
    """TRL's RewardConfig leaves out what exceeds 1024 tokens."""
    long = pair((20,) * 1100, (21,) * 1100, 0.5)
    _, done, logs = run(tmp_path, tiny_model, pairs=[long])
    assert (done.num_pairs, logs[0]["num_tokens"]) == (1, 2 * 1103)


def test_a_model_without_special_tokens_is_read_at_its_last_token(tmp_path, shared):
    """Any token may be data, id 0 too: padding with one that traces end with would read those a token early."""
    adder = shared("models/adder-qwen3-228")
    pairs = [pair((1, 0), (1, 0, 0), 0.2), pair((0,), (3, 1, 0, 0), 0.3)]
    out, _, logs = run(tmp_path, adder, pairs=[with_prompt(one, (4, 5)) for one in pairs])
    torch.manual_seed(0)
    model = load_model(adder, CPU, scalar_head=True).requires_grad_(False)
    loss = 0.0
    for one in pairs:
        chosen, rejected = (by_hand(model, [4, 5, *t.completion_ids]) for t in (one.chosen, one.rejected))
        loss -= float(torch.log(torch.sigmoid(chosen - rejected - math.exp(one.gap)))) / 2
    assert logs[0]["loss"] == pytest.approx(loss, abs=1e-4)
    config = AutoModelForSequenceClassification.from_pretrained(out).config
    assert config.get_text_config().pad_token_id == 1  # no trace ends with it
    assert (out / "tokenizer_config.json").read_bytes() == (adder / "tokenizer_config.json").read_bytes()


def with_prompt(one, prompt):
    chosen, rejected = (dataclasses.replace(t, prompt_ids=prompt) for t in (one.chosen, one.rejected))
    return dataclasses.replace(one, chosen=chosen, rejected=rejected)


def test_traces_that_end_with_every_token_leave_nothing_to_pad_with(tmp_path, tiny_model):
    size = len(AutoTokenizer.from_pretrained(tiny_model))
    pairs = [pair((5, i), (6, i), 0.5) for i in range(size)]
    with pytest.raises(DataError, match="none can stand for padding"):
        run(tmp_path, tiny_model, pairs=pairs)


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    return run(tmp_path_factory.mktemp("reward"), tiny_model)[0]


# The last two end with the padding's id, once and twice.
SEQUENCES = [
    ([1, 5], [13, 2]),
    ([1, 5, 14, 24], [13, 20, 20, 20, 2]),
    ([1, 5, 4], []),
    ([1, 5], [13, 0]),
    ([1], [0, 0]),
]


def test_a_reward_does_not_depend_on_its_batch_mates(trained, monkeypatch):
    model = load_reward_model(trained, CPU)
    expected = [float(by_hand(model, [*prompt, *completion])) for prompt, completion in SEQUENCES]
    assert sequence_rewards(model, SEQUENCES) == pytest.approx(expected, abs=1e-5)
    monkeypatch.setattr(forward, "CPU_BATCH_TOKENS", 10)
    assert sequence_rewards(model, SEQUENCES) == pytest.approx(expected, abs=1e-5)
    assert len({round(one, 4) for one in expected}) == len(SEQUENCES)


def test_a_reward_is_that_of_plain_transformers(trained):
    plain = AutoModelForSequenceClassification.from_pretrained(trained).eval()
    for prompt, completion in SEQUENCES[:3]:
        with torch.no_grad():
            expected = float(plain(torch.tensor([[*prompt, *completion]])).logits)
        assert sequence_rewards(load_reward_model(trained, CPU), [(prompt, completion)])[0] == pytest.approx(
            expected, abs=1e-5
        )


def test_a_loaded_reward_model_is_frozen_and_evaluating(trained):
    model = load_reward_model(trained, CPU)
    assert not model.training and not any(p.requires_grad for p in model.parameters())


def test_a_causal_model_is_no_reward_model(tiny_model):
    """Its head would be drawn at random."""
    with pytest.raises(ModelError, match="is no reward model"):
        load_reward_model(tiny_model, CPU)


def test_rewards_that_are_not_finite_are_refused(trained):
    model = load_reward_model(trained, CPU)
    model.get_parameter("score.weight").data[0, 0] = math.nan
    with pytest.raises(ModelError, match="not finite"):
        sequence_rewards(model, SEQUENCES)


def test_model_reward_scores_a_steps_exact_tokens_and_loads_once(trained, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(trained, folder)
    reward = model_reward(folder, CPU)
    prompts, completions = zip(*SEQUENCES, strict=True)
    empty = torch.zeros(len(SEQUENCES), 0)
    traces = StepTraces(
        step=0,
        prompt_keys=["a"] * len(SEQUENCES),
        prompt_ids=prompts,
        completion_ids=completions,
        completions=["misleading"] * len(SEQUENCES),
        signals=TokenSignals(
            logprob=empty, entropy=empty, self_certainty=empty, disparity=empty, mask=empty.to(torch.bool)
        ),
    )
    first = reward(traces)
    shutil.rmtree(folder)
    assert reward(traces) == first == pytest.approx(sequence_rewards(load_reward_model(trained, CPU), SEQUENCES))


def test_what_reaches_trl(tmp_path):
    """RLSF's settings, by TRL's names: a change here is a change of method."""
    made = config(RewardModelSettings(), work=tmp_path, seed=7, device="cpu", num_pairs=100)
    pinned = {
        "learning_rate": 5e-5,
        "num_train_epochs": 3,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "center_rewards_coefficient": None,
        "max_length": None,
        "disable_dropout": True,
        "bf16": False,
        "use_cpu": True,
        "seed": 7,
        "save_steps": 7,
    }
    assert {name: getattr(made, name) for name in pinned} == pinned
    assert RewardModelSettings().margin and RewardModelSettings().lora == LoraSettings(r=8, alpha=16, rslora=True)


def test_settings_are_checked_before_work(tiny_model):
    policy = AutoModelForCausalLM.from_pretrained(tiny_model)
    check_reward_model(RewardModelSettings(trl={"center_rewards_coefficient": 0.01}), policy)
    with pytest.raises(SettingsError, match="TRL refuses these settings of the reward model"):
        check_reward_model(RewardModelSettings(trl={"no_such_field": 1}), policy)
    with pytest.raises(SettingsError, match="no module called lm_head"):
        check_reward_model(RewardModelSettings(lora=LoraSettings(target_modules=("lm_head",))), policy)


def test_an_architecture_without_a_scalar_head_is_refused():
    from transformers import GPTNeoXJapaneseConfig, GPTNeoXJapaneseForCausalLM

    with torch.device("meta"):
        policy = GPTNeoXJapaneseForCausalLM(GPTNeoXJapaneseConfig(num_hidden_layers=1))
    with pytest.raises(ModelError, match="no scalar head for GPTNeoXJapaneseForCausalLM"):
        check_reward_model(RewardModelSettings(), policy)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"num_epochs": 0}, "num_epochs must be at least 1"),
        ({"max_length": 1}, "max_length at least 2"),
        ({"trl": {"max_length": 256}}, r"trl\.max_length is set by inward: use max_length"),
    ],
)
def test_settings_out_of_range(wrong, message):
    with pytest.raises(SettingsError, match=message):
        RewardModelSettings(**wrong)


def test_a_diverged_training_says_so_and_writes_no_checkpoint(tmp_path, tiny_model):
    with pytest.raises(ModelError, match=r"gradient of step 2 is not finite.*lower its learning_rate"):
        run(tmp_path, tiny_model, settings=dataclasses.replace(FULL, learning_rate=1e30, num_epochs=3))
    assert not any((tmp_path / "out").iterdir())
