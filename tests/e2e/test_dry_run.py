"""`inward run --dry-run`: says what would happen without weights, and leaves nothing behind."""

import json
import shutil
from pathlib import Path

import pytest
from commands import call
from safetensors import safe_open

from inward import organism

RECIPE = Path(__file__).parents[2] / "recipes/rlsc_aime24_qwen2.5-math-7b"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"id": f"q{n}", "question": "1" * n} for n in (30, 90)]
    Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def dry(method: str, model: str | Path, *extra: str | Path, prompts: str = "embedded") -> str:
    """Its lines, each with single spaces."""
    ended = call("run", method, "--model", model, "--prompts", prompts, "--out", "out", "--dry-run", *extra)
    assert ended.code == 0, ended.err
    assert not Path("out").exists()
    return "\n".join(" ".join(line.split()) for line in ended.out.splitlines())


def test_it_counts_the_embedded_model_without_its_weights(here: Path):
    with safe_open(organism.path("chat") / "model.safetensors", "pt") as weights:
        held = sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118 - no mapping
    assert f"LlamaForCausalLM, {held:,} parameters" in dry("rlsf", "embedded:chat")


def test_rlsf_by_hand(here: Path):
    """256 prompts * (16 samples + 10 branches) = 6,656 traces; at most 1,024 pairs, 3 epochs of 16 batches of 64."""
    shown = dry("rlsf", "embedded:chat", "--eval-task", "arithmetic")
    assert "recipe: shipped:rlsf-embedded" in shown
    assert "pairs.max_pairs = 1024 (default None)" in shown
    assert "traces: 256 prompts * 26 = 6,656" in shown
    assert "optimizer steps: 3 epochs * 1,024 pairs / 64 = 48 at most" in shown
    assert "tokens of the traces: 6,656 * 48 = 319,488 at most" in shown
    assert "judged: 320 problems * 17 traces * 2 checkpoints = 10,880 traces" in shown
    # 335,424 parameters * 4 bytes = 1,341,696 bytes = 1.28 MiB
    assert "checkpoints kept: 1 of 1.3 MiB" in shown
    assert "reference model of DPO, float32 1.3 MiB 335,424 parameters * 4 bytes" in shown
    assert "AdamW's two moments 2.6 MiB 335,424 parameters * 8 bytes" in shown


@pytest.mark.parametrize(("extra", "pairs"), [((), 256 * 26 * 25 // 2), (("--set", "pairs.rule=best_worst"), 256 * 4)])
def test_pairs_at_most(here: Path, extra: tuple[str, ...], pairs: int):
    """All: 26 traces make 26 * 25 / 2 pairs; best against worst: the 4 of num_best."""
    unlimited = ("--set", "pairs.rule=all", "--set", "pairs.max_pairs=null")
    assert f"pairs: {pairs:,} at most" in dry("rlsf", "embedded:chat", *unlimited, *extra)


def test_rlsf_over_a_reward_model_by_hand(here: Path):
    """Policy: 32 prompts * 8 traces, 10 steps, 10 * 32 / 256 passes; the reward model stays in memory beside it."""
    shown = dry("rlsf", "embedded:chat", "--set", "route=reward_model", "--set", "policy.steps=10")
    assert "optimizer steps of the reward model: 3 epochs * 1,024 pairs / 64 = 48 at most" in shown
    assert "traces of the policy: 32 prompts * 8 = 256 a step, 2,560 in all" in shown
    assert "passes over the prompts: 1.25" in shown
    assert "tokens of the policy's traces: 2,560 * 48 = 122,880 at most" in shown
    assert "reward model, frozen 1.3 MiB 335,424 parameters * 4 bytes" in shown
    assert "reference model of DPO" not in shown
    # 256 rows at once, 48 new tokens, a vocabulary of 20: 256 * 48 * 20 * 4 bytes, without gradients
    assert "logits before the update, roughly" in shown.partition("train: samples of a step")[2]
    no_reference = ("--set", "policy.estimator=grpo", "--set", "policy.kl=0")
    assert "logits before" not in dry("rlsf", "embedded:chat", "--set", "route=reward_model", *no_reference)
    rloo = ("--set", "policy.estimator=rloo", "--set", "policy.loss=token_mean", "--set", "policy.kl=0")
    assert "logits before the update" in dry("rlsf", "embedded:chat", "--set", "route=reward_model", *rloo)


def test_the_adapters_of_reward_model_and_policy_are_counted_apart(here: Path):
    """r=2 and r=4 on q_proj: 3 layers * (96 * r + r * 96), 1,152 and 2,304 parameters."""
    adapters = ("--set", "reward.lora={r: 2, target_modules: [q_proj]}")
    adapters += ("--set", "policy.lora={r: 4, target_modules: [q_proj]}")
    shown = dry("rlsf", "embedded:chat", "--set", "route=reward_model", *adapters)
    judge, policy = shown.partition("train the reward model")[2].split("train: state")[:2]
    assert "gradients 0.0 MiB 1,152 adapter parameters * 4 bytes" in judge
    assert "gradients 0.0 MiB 2,304 adapter parameters * 4 bytes" in policy


def test_rounds_of_fine_tuning_and_their_baseline(here: Path):
    """One trace of each of 256 prompts; the start model and two checkpoints are judged, 17 traces a problem."""
    shown = dry("rlsf", "embedded:chat", "--baseline", "sft", "--set", "rounds=2", "--eval-task", "arithmetic")
    assert "baseline = sft (default None)" in shown and "route = sft (default dpo)" in shown
    assert "rounds: 2, each as follows" in shown
    assert "surest traces: 256 at most" in shown
    assert "optimizer steps: 3 epochs * 256 traces / 64 = 12 at most" in shown
    assert "judged: 320 problems * 17 traces * 3 checkpoints = 16,320 traces" in shown
    assert "checkpoints kept: 2 of 1.3 MiB" in shown


def test_a_baseline_that_trains_nothing(here: Path):
    """Greedy and 16 samples, and 10 branches and the same samples: 17 + 26 traces a problem."""
    shown = dry("rlsf", "embedded:chat", "--baseline", "cot_decoding_sum", "--eval-task", "arithmetic")
    assert "nothing is trained: the start model answers by cot_decoding_sum" in shown
    assert "judged: 320 problems * 43 traces, by greedy and by cot_decoding_sum = 13,760 traces" in shown
    assert "checkpoints kept" not in shown and "sample\n" not in shown.partition("memory")[2]


def test_an_open_number_of_rows_takes_what_it_is_given(here: Path):
    open_rows = ("--set", "sampling.batch_rows=null")
    line = "traces decoded at once {} as many as fit into {} GiB"
    assert line.format("2.0 GiB", "2") in dry("rlsf", "embedded:chat", *open_rows)
    assert line.format("0.5 GiB", "0.5") in dry("rlsf", "embedded:chat", *open_rows, "--set", "sampling.memory_gib=0.5")


@pytest.mark.parametrize(
    ("decoding", "each"),
    [("greedy", 1 + 16), ("cot_decoding", 10 + 16), ("cot_prompt", 1 + 16), ("self_consistency", 16)],
)
def test_judged_traces_under_every_decoding(here: Path, decoding: str, each: int):
    """One greedy trace or ten branches, and sixteen samples, of which self-consistency is made; two checkpoints."""
    words = ("--eval-task", "arithmetic", "--set", f"evaluation.decoding={decoding}")
    shown = dry("rlsf", "embedded:chat", *words)
    assert f"judged: 320 problems * {each} traces * 2 checkpoints = {640 * each:,} traces" in shown


def test_a_model_without_an_end_of_sequence_is_refused_as_in_a_run(here: Path, tiny_model: Path):
    shutil.copytree(tiny_model, "model")
    for name, gone in (
        ("config.json", {"eos_token_id": None}),
        ("generation_config.json", {"eos_token_id": None}),
        ("tokenizer_config.json", {"eos_token": None}),
    ):
        file = Path("model", name)
        file.write_text(json.dumps(json.loads(file.read_text()) | gone), encoding="utf-8")
    words = ("run", "rlif", "--model", "model", "--prompts", "embedded", "--out", "out")
    words += ("--set", "optim.max_completion_tokens=8")
    dry_run, real = call(*words, "--dry-run"), call(*words)
    assert (dry_run.code, real.code) == (1, 1)
    assert dry_run.error == real.error
    assert dry_run.error.startswith("model has no end-of-sequence token, without which GRPO")


def test_no_room_for_a_prompt_is_refused_as_in_a_run(here: Path, tiny_model: Path):
    words = ("run", "rlif", "--model", tiny_model, "--prompts", "embedded", "--out", "out", "--dry-run")
    ended = call(*words, "--set", "optim.max_completion_tokens=64")
    assert ended.code == 1
    assert "optim.max_completion_tokens = 64 leaves no room for a prompt in the 64 tokens of context" in ended.error


def test_every_prompt_is_read_once(here: Path, monkeypatch: pytest.MonkeyPatch):
    from inward.cli import questions

    read: list[str] = []
    for name in ("prompts_of", "training_problems_of"):
        own = getattr(questions, name)
        monkeypatch.setattr(questions, name, lambda *a, own=own, **k: (read.append(a[0]), own(*a, **k))[1])
    dry("rlif", "embedded:base", "--reward", "gold")
    dry("rlif", "embedded:base")
    assert read == ["embedded", "embedded"]


def test_rlif_counts_probes_checkpoints_and_the_start_model(here: Path):
    """80 steps, a checkpoint every 20, and the kept one: 5; 32 * 8 = 256 traces a step."""
    sets = ("optim.steps=80", "optim.save_every=20", "optim.prompts_per_step=32", "optim.batch_rows=256")
    shown = dry("rlif", "embedded:base", *(part for one in sets for part in ("--set", one)))
    assert "traces: 32 prompts * 8 = 256 a step, 20,480 in all" in shown
    assert "128 prompts * (16 votes + 5 checkpoints * 5) = 5,248 traces" in shown
    assert "checkpoints kept: 5 of" in shown
    assert "start model for kl_traces 1.3 MiB" in shown
    assert "start model for kl_traces" not in dry("rlif", "embedded:base", "--set", "kl_traces=0")
    shown = dry("rlif", "embedded:base", "--set", "optim.kl=0.1")
    assert "start model for kl_traces" not in shown and "reference model of the KL term, float32 1.3 MiB" in shown


def test_an_adapter_needs_no_gradients_for_the_rest(here: Path):
    """r=2 on q_proj alone: 3 layers * (96 * 2 + 2 * 96) = 1,152 parameters."""
    shown = dry("rlsc", "embedded:base", "--set", "optim.lora={r: 2, target_modules: [q_proj]}")
    assert "LoRA: 1,152 parameters are trained" in shown
    assert "AdamW's two moments 0.0 MiB 1,152 adapter parameters * 8 bytes" in shown
    assert "gradients 0.0 MiB 1,152 adapter parameters * 4 bytes" in shown


def test_the_7b_recipe_without_weights_or_tokenizer(here: Path):
    shown = dry(
        *("rlsc", RECIPE / "model", "--config", RECIPE / "recipe.yaml"),
        prompts="prompts.jsonl",
    )
    assert "Qwen2ForCausalLM, 7,615,616,512 parameters" in shown
    assert "missing weights: no safetensors" in shown
    assert "missing tokenizer: no files of one" in shown
    # 7,615,616,512 * 4 / 2^30 = 28.37; two moments twice that
    assert "weights, float32 28.4 GiB" in shown
    assert "AdamW's two moments 56.7 GiB" in shown
    # 90 characters at 3 a token are 30 tokens; 2 * 28 * 4 * 128 * 3,102 * 128 * 4 bytes = 42.4 GiB
    assert "KV cache 42.4 GiB 2 keys and values * 28 layers * 4 heads * 128 wide * 3,102 tokens * 128 rows * 4" in shown
    assert "checkpoints kept: 5 of 28.4 GiB, 141.9 GiB on disk" in shown


def test_the_2b_recipe_without_weights_or_tokenizer(here: Path):
    """LoRA of r=8 on q_proj and v_proj: 26 layers * 8 * (2304 + 2048 + 2304 + 1024) = 1,597,440 parameters."""
    folder = RECIPE.with_name("rlsf_gsm8k_gemma-2-2b-it")
    shown = dry("rlsf", folder / "model", "--config", folder / "recipe.yaml", prompts="prompts.jsonl")
    assert "Gemma2ForCausalLM, 2,614,341,888 parameters" in shown
    assert "LoRA: 1,597,440 parameters are trained" in shown
    # Two prompts of ten branches: 45 ordered pairs each, in batches of four, three times over.
    assert "optimizer steps of the reward model: 3 epochs * 90 pairs / 4 = 69 at most" in shown
    assert "traces of the policy: 32 prompts * 4 = 128 a step, 89,600 in all" in shown
    changed = shown.partition("settings that differ from the defaults")[2].partition("model\n")[0]
    assert "answer.elicit = always" in changed and not {"policy.kl", "reward.margin", "pairs.gamma"} & {
        *changed.split()
    }


def test_a_hub_model_that_cannot_be_reached(here: Path):
    shown = dry("rlif", "nobody/nothing", prompts="prompts.jsonl")
    assert "missing config.json:" in shown and "missing tokenizer:" in shown
    assert "prompts: 2" in shown
    assert "optimizer steps: 80" in shown
    assert "not known without a config.json" in shown


def test_a_folder_without_weights_keeps_its_tokenizer(here: Path, tiny_model: Path):
    shutil.copytree(tiny_model, "model", ignore=shutil.ignore_patterns("*.safetensors"))
    shown = dry("rlsf", "model", "--set", "answer.elicit=never")
    assert "missing weights" in shown and "missing tokenizer" not in shown
    assert "prompts: 256; tokens 10 to 16" in shown


@pytest.mark.parametrize(
    ("extra", "error"),
    [
        (("--set", "pairs.gama=0.5"), "unknown setting pairs.gama; did you mean pairs.gamma?"),
        (("--prompts", "none.jsonl"), "no file none.jsonl"),
        (("--eval-task", "maths"), "task 'maths' is unknown"),
        (("--eval-data", "prompts.jsonl"), "prompts.jsonl, line 1: no gold answer"),
        (("--model", "/nowhere"), "no model folder at /nowhere"),
        (("--model", "embedded:none"), "no embedded model is called 'none'"),
        (("--set", "optim.lora.target_modules=[nothing]"), "the model has no module called nothing"),
        (("--set", "optim.trl={no_such_field: 1}"), "TRL refuses these settings"),
        (("--baseline", "sft", "--set", "tuning.trl={no_such_field: 1}"), "tuning: TRL refuses these settings"),
        (("--baseline", "greedy"), "baseline greedy trains nothing: give problems to judge on"),
        (("--baseline", "sft", "--set", "route=dpo"), "baseline=sft needs route=sft, got dpo"),
        (("--set", "route=reward_model", "--set", "policy.batch_rows=3"), "batch_rows must divide"),
    ],
)
def test_errors_are_those_of_a_run(here: Path, extra: tuple[str, ...], error: str):
    ended = call(
        *("run", "rlsf", "--model", "embedded:chat", "--prompts", "embedded", "--out", "out", "--dry-run"), *extra
    )
    assert ended.code == 1
    assert error in ended.error
    assert not Path("out").exists()


def test_errors_without_a_tokenizer(here: Path):
    for extra, error in (
        (("--eval-task", "maths"), "task 'maths' is unknown"),
        (("--eval-task", "arithmetic", "--eval-data", "prompts.jsonl"), "makes its problems: leave out prompts.jsonl"),
        (("--eval-data", "prompts.jsonl"), "no gold answer"),
    ):
        ended = call("run", "rlsc", "--model", "a/b", "--prompts", "embedded", "--out", "out", "--dry-run", *extra)
        assert (ended.code, error in ended.error) == (1, True)
