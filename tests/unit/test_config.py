"""Settings are strict: every mistake is refused with its path, and every recipe that ships can be read."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from inward.answers import LABELS
from inward.config import (
    METHODS,
    SHIPPED,
    TaskAnswers,
    calibrate_config,
    evaluate_config,
    probe_config,
    run_config,
    stored_config,
)
from inward.errors import SettingsError
from inward.methods import rlsf
from inward.runs import to_json
from inward.tasks import answer_settings
from inward.train import LoraSettings

ROOT = Path(__file__).parents[2]


def with_set(*overrides: str):
    return run_config("rlsf", "some/model", None, overrides)


def with_file(folder: Path, text: str, *overrides: str, model: str = "some/model"):
    file = folder / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    return run_config("rlsf", model, file, overrides)


def test_without_file_or_overrides_the_papers_recipe_is_taken():
    config = with_set()

    assert (config.method, config.recipe) == ("rlsf", "defaults")
    assert config.settings == rlsf.Settings()
    assert (config.settings.optim.learning_rate, config.settings.pairs.gamma) == (1e-6, 0.9)
    assert config.settings.optim.lora == LoraSettings(r=8, alpha=16, rslora=True)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pairs.gama=1", "unknown setting pairs.gama; did you mean pairs.gamma?"),
        ("optim.lora.rank=4", "unknown setting optim.lora.rank; known are optim.lora.r, optim.lora.alpha, "),
        ("prompts.limits=4", "unknown setting prompts.limits; did you mean prompts.limit?"),
        ("evaluation.num_sample=4", "unknown setting evaluation.num_sample; did you mean evaluation.num_samples?"),
        ("smapling.top_p=1", "unknown setting smapling; did you mean sampling?"),
        ("method=rlsf", "unknown setting method"),
    ],
)
def test_an_unknown_setting_is_named_by_its_path_with_the_nearest_known_one(override: str, message: str):
    with pytest.raises(SettingsError) as raised:
        with_set(override)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.num_epochs=three", "optim.num_epochs: Input should be a valid integer, got 'three'"),
        ("optim.num_epochs=2.5", "optim.num_epochs: Input should be a valid integer, got 2.5"),
        ("optim.num_epochs=true", "optim.num_epochs: Input should be a valid integer, got True"),
        ("optim.num_epochs='3'", "optim.num_epochs: Input should be a valid integer, got '3'"),
        ("pairs.gamma=high", "pairs.gamma: Input should be a valid number, got 'high'"),
        ("optim.learning_rate=.nan", "optim.learning_rate: Input should be a finite number, got nan"),
        ("pairs.keep_truncated=1", "pairs.keep_truncated: Input should be a valid boolean, got 1"),
        ("confidence=[a]", "confidence: Input should be a valid string, got ['a']"),
        ("answer.labels=A", "answer.labels: Input should be a valid tuple, got 'A'"),
        ("pairs.rule=bset", "pairs.rule: Input should be 'all' or 'best_worst', got 'bset'"),
        (
            "baseline=cot_decode",
            "baseline: Input should be 'sft', 'majority_pairs', 'random_pairs', 'greedy', 'cot_prompt', "
            "'cot_decoding', 'cot_decoding_sum' or 'self_consistency', got 'cot_decode'; did you mean 'cot_decoding'?",
        ),
        ("route=dpoo", "route: Input should be 'dpo', 'reward_model' or 'sft', got 'dpoo'; did you mean 'dpo'?"),
        (
            "evaluation.format=qwen",
            "evaluation.format: Input should be 'plain', 'rlsf', 'cot', 'qwen_boxed' or 'rlif', got 'qwen'",
        ),
        (
            "report_to=[tensorboard, mlfow]",
            "report_to: Input should be 'tensorboard', 'wandb', 'trackio' or 'mlflow', got ['tensorboard', 'mlfow']; "
            "did you mean 'mlflow'?",
        ),
        ("sampling.group_size=null", "sampling.group_size: Input should be a valid integer, got None"),
        ("pairs=3", "pairs takes a table of settings, got 3"),
        ("pairs=null", "pairs takes a table of settings, got None"),
        ("prompts=file", "prompts takes a table of settings, got 'file'"),
        ("optim.lora=8", "optim.lora takes a table of settings, got 8"),
        ("optim.trl=3", "optim.trl: Input should be a valid dictionary, got 3"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_path_and_value(override: str, message: str):
    with pytest.raises(SettingsError) as raised:
        with_set(override)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pairs.gamma=1.5", "pairs.gamma must be in [-1, 1], or null for none; got 1.5"),
        ("pairs.min_gap=-0.1", "pairs.min_gap must be at least 0, got -0.1"),
        ("sampling.temperature=0", "sampling.temperature must be above 0, got 0.0; for greedy use strategy=greedy"),
        ("sampling.top_p=1.01", "sampling.top_p must be in (0, 1], got 1.01"),
        ("optim.num_epochs=0", "optim.num_epochs must be at least 1, got 0"),
        ("prompts.limit=0", "prompts.limit must be at least 1, got 0"),
        ("evaluation.num_samples=-1", "evaluation.num_samples must be at least 0, got -1"),
        ("evaluation.num_problems=0", "evaluation.num_problems must be at least 1, got 0"),
        ("evaluation.batch_rows=0", "evaluation.batch_rows must be at least 1, got 0"),
        ("evaluation.max_completion_tokens=0", "evaluation.max_completion_tokens must be at least 1, got 0"),
        ("model.device=gpu", "model.device 'gpu' is unknown: use auto, cpu, cuda, cuda:0 or mps"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_path(override: str, message: str):
    with pytest.raises(SettingsError) as raised:
        with_set(override)
    assert str(raised.value) == message


def test_an_unknown_measure_or_method_is_refused_with_those_known():
    with pytest.raises(SettingsError, match=r"confidence 'certainty' is unknown; choose one of .*answer_disparity"):
        with_set("confidence=certainty")
    with pytest.raises(SettingsError, match="method 'rlhf' is unknown; choose one of rlsf"):
        run_config("rlhf", "some/model", None, ())


def test_nested_tables_reach_the_settings_beside_them(tmp_path: Path):
    config = with_file(
        tmp_path,
        """
        prompts: {limit: 7, too_long: drop}
        evaluation: {num_samples: 4}
        sampling: {strategy: both, group_size: 3}
        optim:
          num_epochs: 2
          lora: {r: 4, target_modules: [q_proj, v_proj]}
        """,
    )

    assert (config.prompts.limit, config.prompts.too_long, config.evaluation.num_samples) == (7, "drop", 4)
    assert (config.settings.sampling.strategy, config.settings.sampling.group_size) == ("both", 3)
    # What the table of the adapter leaves out keeps its default.
    assert config.settings.optim.lora == LoraSettings(r=4, alpha=16, target_modules=("q_proj", "v_proj"))
    assert config.settings.optim.num_epochs == 2


def test_null_turns_off_the_adapter_and_the_threshold():
    config = with_set("optim.lora=null", "pairs.gamma=null")

    assert config.settings.optim.lora is None
    assert config.settings.pairs.gamma is None


@pytest.mark.parametrize(("written", "value"), [("1e-4", 1e-4), ("1.5e-3", 1.5e-3), ("2E1", 20.0), (".5e0", 0.5)])
def test_scientific_notation_is_a_number_in_a_file_and_in_an_override(tmp_path: Path, written: str, value: float):
    in_file = with_file(tmp_path, f"optim: {{learning_rate: {written}, trl: {{weight_decay: {written}}}}}")
    override = with_set(f"optim.learning_rate={written}", f"optim.trl.weight_decay={written}")

    for config in (in_file, override):
        assert config.settings.optim.learning_rate == value
        assert config.settings.optim.trl == {"weight_decay": value}


def bomb(first: str, further: str, levels: int = 22) -> str:
    """A list of few bytes in which every item stands for the one before, twice: 2^22 values at the end."""
    parts = [f"&a0 {first}", *(f"&a{i} {further.format(i - 1)}" for i in range(1, levels))]
    return f"[{', '.join(parts)}]"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("0x_", "a value is not of its kind (ValueError: invalid literal for int()"),
        ("!!bool x", "a value is not of its kind (KeyError: 'x')"),
        ("!!float x", "a value is not of its kind (ValueError: could not convert string to float"),
        ('!!int ""', "a value is not of its kind (IndexError"),
        ("9" * 5000, "a value is not of its kind (ValueError: Exceeds the limit"),
        ("1" + ":59" * 400, "found a whole number of more than 64 bits"),
        ("0x" + "f" * 5000, "found a whole number of more than 64 bits"),
        ("[" * 1000, "it is nested too deeply"),
        ("[" * 60 + "]" * 60, "found more than 100000 values, or 50 of them one in the other"),
        ("&a [*a]", "found a value that contains itself"),
        (bomb("[x, x]", "[*a{0}, *a{0}]"), "found more than 100000 values"),
        (bomb("{x: y}", "{{<<: [*a{0}, *a{0}]}}"), "found more than 100000 values"),
        ("!!set {a, b}", "could not determine a constructor for the tag 'tag:yaml.org,2002:set'"),
        ("!!binary YQ==", "could not determine a constructor for the tag 'tag:yaml.org,2002:binary'"),
    ],
    ids=lambda text: text[:12],
)
def test_yaml_that_stands_for_no_plain_value_is_refused_in_a_file_and_in_an_override(
    tmp_path: Path, value: str, reason: str
):
    with pytest.raises(SettingsError) as in_file:
        with_file(tmp_path, f"optim: {{trl: {{x: {value}}}}}")
    assert str(in_file.value).startswith(f"{tmp_path}/settings.yaml is no YAML: ") and reason in str(in_file.value)
    with pytest.raises(SettingsError) as in_override:
        with_set(f"optim.trl.x={value}")
    assert str(in_override.value).startswith("--set optim.trl.x: '") and reason in str(in_override.value)
    assert all(len(str(raised.value)) < 1500 for raised in (in_file, in_override))


def test_a_long_value_is_shown_by_its_beginning():
    for override in (
        "pairs=[" + "long, " * 2_000 + "]",
        "confidence=[" + "long, " * 2_000 + "]",
        "x" * 2_000 + "=1",
    ):
        with pytest.raises(SettingsError) as raised:
            with_set(override)
        assert "..." in str(raised.value) and len(str(raised.value)) < 1500


def test_an_override_opens_no_more_tables_than_a_file_may_hold():
    with pytest.raises(SettingsError, match="--set takes name=value"):
        with_set("optim.trl." + "a." * 1000 + "b=1")


@pytest.mark.parametrize("date", ["2025-01-02", "2025-13-45", "2025-01-02T03:04:05"])
def test_a_date_is_text(date: str):
    assert with_set(f"model.revision={date}").settings.model.revision == date


def test_text_that_holds_an_e_between_digits_stays_text():
    assert with_set("model.revision=v1e5").settings.model.revision == "v1e5"


def test_an_override_wins_over_the_file_and_the_file_over_the_shipped_recipe(tmp_path: Path):
    shipped = run_config("rlsf", "embedded:chat", None, ())
    assert (shipped.recipe, shipped.settings.optim.lora) == ("shipped:rlsf-embedded", None)
    assert shipped.settings.pairs.rule == "best_worst"

    overridden = run_config("rlsf", "embedded:chat", None, ["pairs.rule=all"])
    assert (overridden.recipe, overridden.settings.pairs.rule) == ("shipped:rlsf-embedded", "all")
    assert overridden.settings.pairs.min_gap == shipped.settings.pairs.min_gap

    text = "method: rlsf\npairs: {gamma: 0.3, min_gap: 0.1}"
    config = with_file(tmp_path, text, "pairs.gamma=0.4", "pairs.gamma=0.5", model="embedded:chat")
    assert config.recipe == str(tmp_path / "settings.yaml")
    assert (config.settings.pairs.gamma, config.settings.pairs.min_gap) == (0.5, 0.1)
    # A file stands in for the shipped recipe as a whole: what it leaves out is the paper's.
    assert config.settings.optim == rlsf.Settings().optim


def test_an_override_opens_the_tables_on_its_way_even_where_one_is_null(tmp_path: Path):
    config = with_file(tmp_path, "optim: {lora: null}", "optim.lora.r=2")
    assert config.settings.optim.lora == LoraSettings(r=2)


@pytest.mark.parametrize("text", ["pairs.gamma", "=0.5", "pairs.=1", ""])
def test_an_override_without_name_and_value_is_refused(text: str):
    with pytest.raises(SettingsError, match=r"--set takes name=value, as in pairs\.gamma=0\.5; got"):
        with_set(text)


def test_fields_of_trl_pass_through_and_those_that_inward_owns_are_refused():
    config = with_set("optim.trl.weight_decay=0.01", "optim.trl.max_grad_norm=0.5")
    assert config.settings.optim.trl == {"weight_decay": 0.01, "max_grad_norm": 0.5}
    assert with_set("optim.trl.report_to=3").settings.optim.trl == {"report_to": 3}  # for TRL to refuse

    with pytest.raises(SettingsError, match=r"^optim\.trl\.learning_rate is set by inward: use optim\.learning_rate$"):
        with_set("optim.trl.learning_rate=0.1")
    with pytest.raises(SettingsError, match=r"^optim\.trl\.seed is set by inward: use --seed$"):
        with_set("optim.trl={seed: 3}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pairs: [", "is no YAML"),
        ("- pairs", "must hold settings by name, found a list"),
        ("just words", "must hold settings by name, found a str"),
        ("method: rlif", "is not for rlsf"),
        ("1: 2\nx: 3", "unknown setting 1; known are model, "),
        ("prompts: {1: 2}", r"unknown setting prompts\.1; known are prompts\.limit, "),
    ],
)
def test_a_file_that_holds_no_settings_is_refused(tmp_path: Path, text: str, message: str):
    with pytest.raises(SettingsError, match=message):
        with_file(tmp_path, text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"cannot read .*nothing\.yaml: No such file or directory"):
        run_config("rlsf", "some/model", tmp_path / "nothing.yaml", ())
    (tmp_path / "latin.yaml").write_bytes("confidence: caf\xe9".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"latin\.yaml is no YAML"):
        run_config("rlsf", "some/model", tmp_path / "latin.yaml", ())


def test_an_empty_file_is_the_papers_recipe(tmp_path: Path):
    assert with_file(tmp_path, "# nothing yet\n").settings == rlsf.Settings()


RECIPES = sorted([*ROOT.glob("src/inward/**/*.yaml"), *ROOT.glob("recipes/**/recipe.yaml")])


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_recipe_that_ships_names_its_method_and_can_be_read(file: Path):
    method = yaml.safe_load(file.read_text(encoding="utf-8"))["method"]
    if method == "evaluate":
        assert evaluate_config("some/model", file, ())[1] == str(file)
    elif method == "calibrate":
        assert calibrate_config("some/model", file, ())[1] == str(file)
    elif method == "probe":
        assert probe_config("some/model", file, ())[1] == str(file)
    else:
        assert run_config(method, "some/model", file, ()).method == method


def test_every_shipped_recipe_is_one_of_those_files():
    assert {ROOT / "src/inward/methods" / name for name in SHIPPED.values()} <= set(RECIPES)


def test_an_evaluation_has_no_settings_of_training():
    config, recipe = evaluate_config("embedded:chat", None, ["evaluation.num_samples=2"])
    assert (recipe, config.evaluation.num_samples, config.answer.kind) == ("shipped:evaluate-embedded", 2, "number")
    with pytest.raises(SettingsError, match="unknown setting pairs; known are model, answer, evaluation"):
        evaluate_config("some/model", None, ["pairs.gamma=0.5"])


def test_plain_settings_come_back_as_they_were_also_from_json():
    overrides = ["answer.labels=[X, Y]", "optim.lora.target_modules=[q_proj]", "optim.trl.weight_decay=0.1"]
    config = with_set(*overrides, "prompts.limit=5", "evaluation.num_samples=2", "pairs.gamma=null")

    again = stored_config("rlsf", config.plain(), config.recipe, ())
    from_manifest = stored_config("rlsf", json.loads(to_json(config.plain())), config.recipe, ())

    assert again == config
    assert from_manifest == config


def test_overrides_of_stored_settings_leave_what_is_stored_alone():
    stored = with_set().plain()
    changed = stored_config("rlsf", stored, "defaults", ["pairs.gamma=0.5", "prompts.limit=3"])

    assert (changed.settings.pairs.gamma, changed.prompts.limit) == (0.5, 3)
    assert stored == with_set().plain()


def test_no_method_has_a_table_named_like_one_of_every_run():
    for settings in METHODS.values():
        assert not {"prompts", "evaluation"} & {field.name for field in dataclasses.fields(settings)}


GSM8K, MATH, MMLU, ARC = ((name, answer_settings(name)) for name in ("gsm8k", "math500", "mmlu_stem", "arc_easy"))


def answer_of(*overrides: str, file: Path | None = None, model: str = "some/model", tasks: TaskAnswers = (GSM8K,)):
    config = run_config("rlsf", model, file, overrides, tasks)
    return config.settings.answer.kind, config.settings.answer.labels, config.recipe


def test_a_task_says_what_answers_look_like_where_the_user_does_not(tmp_path: Path):
    own = tmp_path / "own.yaml"
    own.write_text("answer: {kind: text}", encoding="utf-8")
    other = tmp_path / "other.yaml"
    other.write_text("answer: {elicit: never}", encoding="utf-8")

    assert answer_of() == ("number", LABELS, "defaults, answer.kind of the task")
    assert answer_of(tasks=(MMLU,)) == ("choice", tuple("ABCD"), "defaults, answer.kind and answer.labels of the task")
    # Of a shipped recipe, which is not the user's, the task's word is taken.
    assert answer_of(model="embedded:chat", tasks=(MMLU,))[0] == "choice"
    assert answer_of(file=own) == ("text", LABELS, str(own))
    assert answer_of(file=other) == ("number", LABELS, f"{other}, answer.kind of the task")
    assert answer_of("answer.kind=auto") == ("auto", LABELS, "defaults")
    assert answer_of("answer.labels=[X, Y]", tasks=(MMLU,))[:2] == ("choice", ("X", "Y"))
    assert answer_of(tasks=()) == ("auto", LABELS, "defaults")


def test_tasks_that_differ_in_kind_need_the_users_word():
    with pytest.raises(SettingsError) as raised:
        answer_of(tasks=(GSM8K, MATH))
    assert str(raised.value) == (
        "answers are of different kinds: number of gsm8k, latex of math500; set answer.kind, as in answer.kind=auto"
    )
    assert answer_of("answer.kind=auto", tasks=(GSM8K, MATH))[0] == "auto"
    # The same kind with other labels: each question has its own.
    assert answer_of(tasks=(MMLU, ARC)) == ("choice", LABELS, "defaults, answer.kind of the task")


def test_the_settings_of_evaluation_take_a_tasks_word_too():
    config, recipe = evaluate_config("embedded:chat", None, [], [MATH])
    assert (config.answer.kind, recipe) == ("latex", "shipped:evaluate-embedded, answer.kind of the task")


def test_formats_are_known_by_name():
    config = run_config("rlsf", "some/model", None, ["prompts.format=qwen_boxed"])
    assert (config.prompts.format, config.evaluation.format) == ("qwen_boxed", None)
    with pytest.raises(SettingsError, match=r"prompts\.format: Input should be 'plain', 'rlsf', 'cot', 'qwen_boxed'"):
        run_config("rlsf", "some/model", None, ["prompts.format=boxed"])
