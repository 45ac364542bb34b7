"""From a forecast to a recipe: settings that differ from the defaults, and limits from the traces seen."""

from pathlib import Path

import pytest
import yaml
from test_outlook import healthy
from test_probe_features import group, seen

from inward.cli.advice import different, recipe
from inward.cli.probing import default_out
from inward.config import METHODS, probe_config, run_config
from inward.diagnose.outlook import Outlook, outlook
from inward.types import FinishReason

OUTLOOKS = {one.name: one for one in outlook(healthy())}


def test_only_what_differs_is_written_as_yaml_can():
    settings = {"a": {"b": 1, "c": (1, 2)}, "d": {"e": 0}, "f": None}
    assert different(settings, {"a": {"b": 1, "c": ()}, "d": {"e": 0}, "f": 3}) == {"a": {"c": [1, 2]}, "f": None}


@pytest.mark.parametrize("one", OUTLOOKS.values(), ids=OUTLOOKS)
@pytest.mark.parametrize("model", ["embedded:base", "somebody/model"])
def test_a_recipe_read_again_is_the_same_settings(one: Outlook, model: str, tmp_path: Path):
    cfg, _ = probe_config(model, None, ["answer.kind=number", "prompts.format=cot"])
    made = recipe(one, model, cfg, [group(seen(length=30), seen(length=10))], 256)
    file = tmp_path / "recipe.yaml"
    file.write_text(made.text, encoding="utf-8")
    read = run_config(one.method, model, file, ())

    assert read.plain() == made.config.plain()
    assert read.settings.answer == cfg.settings.answer and read.prompts.format == "cot"
    assert type(read.settings) is METHODS[one.method]
    assert all(f"# {reason}\n" in made.text for reason in one.reasons)
    assert yaml.safe_load(made.text)["method"] == one.method
    limit = read.settings.sampling if one.method == "rlsf" else read.settings.optim
    assert limit.max_completion_tokens == 60  # twice the longest of 30
    if one.method == "rlif":
        assert read.settings.reward == one.reward
    if one.method != "rlsf":
        assert read.settings.stop.action == "stop"


@pytest.mark.parametrize(
    ("finish", "tokens"), [(FinishReason.STOP, 40), (FinishReason.LENGTH, 64), (FinishReason.FIXED, 64)]
)
def test_where_traces_were_cut_the_limit_stays(finish: FinishReason, tokens: int):
    cfg, _ = probe_config("m", None, ())
    made = recipe(OUTLOOKS["rlsc"], "m", cfg, [group(seen(length=20, finish=finish))], 64)
    assert made.config.settings.optim.max_completion_tokens == tokens


def test_each_model_and_prompts_have_a_folder_of_their_own():
    assert default_out("embedded:base", "embedded") == Path("inward-probe/embedded-base--embedded")
    assert default_out("models/a", "/data/q s.jsonl") == Path("inward-probe/a--q-s.jsonl")
    assert default_out("..", ".") == Path("inward-probe/here--here")
