"""The claims of docs/security.md, one by one: what a stranger's files and texts cannot do."""

import json
import pickle
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
import yaml
from commands import call
from safetensors.torch import load_file

from inward import interpolate, models
from inward.config import run_config
from inward.errors import DataError, ModelError, SettingsError
from inward.models import ModelSettings
from inward.tasks.files import read_prompts
from inward.train import (
    PreferenceSettings,
    RewardModelSettings,
    Samples,
    SelfConfidenceSettings,
    check_preference,
    check_reward_model,
    self_confidence,
)
from inward.types import Message, Prompt

CPU = ModelSettings(device="cpu")
SECRET = "hf_no_file_may_hold_this"
SETTINGS = "sampling: {num_branches: 3, max_completion_tokens: 4}\nanswer: {elicit: never}\n"
HOSTILE = (
    "<script>document.title='owned'</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "'\"><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "<iframe src=//evil.example></iframe>",
)


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.file), "w")


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """The file that hostile code would make."""
    return tmp_path / "ran"


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the small model, to be made hostile."""
    return shutil.copytree(tiny_model, tmp_path / "model")


def test_a_bomb_goes_off_where_it_is_unpickled(ran: Path):
    pickle.loads(pickle.dumps(Bomb(ran))).close()
    assert ran.exists()


def test_weights_are_read_from_safetensors_and_pickles_are_left_alone(model: Path, ran: Path):
    torch.save(Bomb(ran), model / "pytorch_model.bin")
    assert models.load_model(model, CPU).num_parameters() > 0
    (model / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"pickled weights.*model\.allow_pickle=true"):
        models.load_model(model, CPU)
    assert not ran.exists()


@pytest.fixture
def adapted(model: Path) -> Path:
    """The copy with an adapter beside its weights, as PEFT writes one, that changes what the model says."""
    from peft import LoraConfig, get_peft_model

    plain = models.load_model(model, CPU)
    adapter = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(plain, adapter).save_pretrained(model)
    return model


def logits(loaded: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return loaded(torch.tensor([[1, 5, 4]])).logits


def test_a_pickled_adapter_beside_the_weights_is_refused(adapted: Path):
    torch.save(load_file(adapted / "adapter_model.safetensors"), adapted / "adapter_model.bin")
    (adapted / "adapter_model.safetensors").unlink()
    for refuse in (models.load_model, models.check_folder):
        with pytest.raises(
            ModelError, match=r"holds adapter_model\.bin, a pickle .+: convert the adapter to safetensors"
        ):
            refuse(adapted, CPU)


def test_weights_that_a_configuration_names_are_refused_where_they_are_pickled(model: Path):
    weights = models.load_model(model, CPU).state_dict()
    torch.save({name: torch.zeros_like(value) for name, value in weights.items()}, model / "adapter_model.bin")
    known = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(known | {"transformers_weights": "adapter_model.bin"}))
    with pytest.raises(ModelError, match=r"holds adapter_model\.bin, a pickle"):
        models.load_model(model, CPU)
    trusted = models.load_model(model, ModelSettings(device="cpu", allow_pickle=True))
    assert not logits(trusted).any()  # so it is what transformers reads, and not model.safetensors


def test_an_adapter_in_safetensors_is_judged_with_its_model_and_refused_where_one_trains(
    adapted: Path, tiny_model: Path
):
    loaded = models.load_model(adapted, CPU)
    assert not torch.equal(logits(loaded), logits(models.load_model(tiny_model, CPU)))
    for check, settings in ((check_preference, PreferenceSettings()), (check_reward_model, RewardModelSettings())):
        with pytest.raises(ModelError, match=r"an adapter beside its weights.+: merge it into them first"):
            check(settings, loaded)
    with pytest.raises(ModelError, match="an adapter beside its weights, which would be left out"):
        interpolate.check(tiny_model, adapted)


def test_a_checkpoint_to_resume_from_unpickles_nothing_but_tensors(tiny_model: Path, tmp_path: Path, ran: Path):
    work = tmp_path / "trainer/checkpoint-1"
    work.mkdir(parents=True)
    torch.save(Bomb(ran), work / "state.pt")
    steps = self_confidence(
        [Prompt(id="a", text="1+2")],
        lambda model, asked, step: Samples(prompt_ids=[(1, 12)], completion_ids=[(13, 2)], answer_share=[1.0]),
        start=tiny_model,
        work=work.parent,
        settings=SelfConfidenceSettings(steps=1, prompts_per_step=1, save_every=1),
        model=CPU,
        seed=0,
        at_checkpoint=lambda step, policy, write: False,
    )
    assert (steps, ran.exists()) == (1, False)


@pytest.mark.parametrize("auto", ["AutoModelForCausalLM", "AutoTokenizer"])
def test_code_in_a_model_folder_does_not_run(model: Path, ran: Path, auto: str):
    (model / "own.py").write_text(f"open({str(ran)!r}, 'w')")
    for name in ("config.json", "tokenizer_config.json"):
        known = json.loads((model / name).read_text())
        named = ["own.A", "own.A"] if auto == "AutoTokenizer" else "own.A"
        (model / name).write_text(json.dumps(known | {"auto_map": {"AutoConfig": "own.C", auto: named}}))
    try:
        models.load(model, CPU)
    except ModelError as error:
        assert "trust_remote_code" in str(error)
    assert not ran.exists()


def test_a_chat_template_runs_in_a_sandbox(tiny_model: Path):
    policy = models.load(tiny_model, CPU)
    policy.tokenizer.chat_template = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    asked = Prompt(id="a", messages=(Message(role="user", content="1+2"),))
    with pytest.raises(DataError, match=r"prompt a: the chat template of .+ refuses it: access to attribute"):
        models.render(asked, policy)


@pytest.mark.parametrize("text", ["!!python/object/apply:os.mkdir [{ran}]", "!!python/name:os.system ''"])
def test_settings_make_plain_values_only(tmp_path: Path, ran: Path, text: str):
    with pytest.raises(yaml.YAMLError):
        yaml.load(text.format(ran=ran), yaml.SafeLoader)
    (tmp_path / "s.yaml").write_text(f"confidence: {text.format(ran=ran)}\n")
    with pytest.raises(SettingsError, match=r"s\.yaml is no YAML"):
        run_config("rlsf", "some/model", tmp_path / "s.yaml", ())
    with pytest.raises(SettingsError, match="is no YAML value"):
        run_config("rlsf", "some/model", None, [f"confidence={text.format(ran=ran)}"])
    assert not ran.exists()


def hostile_ids(outside: Path) -> list[str]:
    return ["../escaped", str(outside / "absolute"), "a/b/c", "..", "nul\0byte"]


@pytest.fixture
def sampled(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder made in an environment with keys, of prompts whose ids are paths."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "WANDB_API_KEY"):
        monkeypatch.setenv(name, SECRET)
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    ids = hostile_ids(tmp_path)
    rows = [{"id": name, "prompt": "Q:1+2?\nA:"} for name in ids]
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("s.yaml").write_text(SETTINGS)
    sample = ("sample", "--model", tiny_model, "--prompts", "p.jsonl", "--out", "out", "--config", "s.yaml")
    for command in (sample, ("score", "out"), ("rank", "out", "--set", "pairs.gamma=null", "--out", "ranked")):
        ended = call(*command)
        assert ended.code == 0, ended.err
    return inside


def test_ids_in_data_name_no_files(sampled: Path):
    assert sorted(path.name for path in sampled.parent.iterdir()) == ["inside"]
    assert sorted(path.name for path in sampled.iterdir()) == ["out", "p.jsonl", "ranked", "s.yaml"]
    made = {path.relative_to(sampled / "out").parts[0] for path in (sampled / "out").rglob("*")}
    assert made == {"manifest.json", "lock", "log.jsonl", "traces", "scored"}


def test_ids_in_what_is_judged_name_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    ids = hostile_ids(tmp_path)
    rows = [
        {"id": name, "question": name, "answer": "3", "completion": "So 3.", "prediction": "So 3.", "gold": "3"}
        for name in ids
    ]
    logged = [
        {
            "doc_id": name,
            "doc_hash": name,
            "target": name,
            "arguments": {f"gen_args_{i}": {"arg_0": name, "arg_1": text} for i, text in enumerate((name, "other"))},
            "resps": [],
            "filtered_resps": [["-1.0", "False"], ["-2.0", "False"]],
            "filter": "none",
            "metrics": ["acc"],
            "acc": 1.0,
        }
        for name in ids
    ]
    for file, lines in (("rows.jsonl", rows), ("samples.jsonl", logged)):
        Path(file).write_text("".join(json.dumps(line) + "\n" for line in lines))
    for command in (
        ("evaluate", "--completions", "rows.jsonl", "--data", "rows.jsonl", "--out", "judged"),
        ("harness", "samples.jsonl", "--out", "logged"),
        ("report", "judged"),
        ("report", "logged"),
        ("grade", "rows.jsonl", "--out", "graded.jsonl", "--jobs", "1"),
    ):
        ended = call(*command)
        assert ended.code == 0, ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    made = {"judged", "logged", "graded.jsonl"}
    assert {path.name for path in inside.iterdir()} == {"rows.jsonl", "samples.jsonl", *made}
    for out in ("judged", "logged"):
        parts = {path.relative_to(out).parts[0] for path in Path(out).rglob("*")}
        assert parts == {"manifest.json", "lock", "log.jsonl", "before", "summary.json", "report.html"}
        kept = {path.name for path in Path(out, "before").rglob("*")}
        assert kept == {"items", "scored", "report.json", "00000.parquet", "complete.json"}


def test_no_file_of_a_run_holds_a_key_of_its_environment(sampled: Path):
    held = [path for path in sampled.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert held == []


@pytest.mark.parametrize("name", ["hub_token", "push_to_hub_token"])
def test_a_key_among_the_settings_of_trl_is_refused_without_being_shown(name: str):
    with pytest.raises(SettingsError, match=rf"trl\.{name} would stand in the manifest.*HF_TOKEN") as caught:
        PreferenceSettings(trl={name: SECRET})
    assert SECRET not in str(caught.value)


class Elements(HTMLParser):
    """What a browser would see of a page: every element with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def page_of(folder: Path, texts: tuple[str, ...]) -> Elements:
    """The report on completions of these texts, with ids, questions and answers of the same."""
    folder.mkdir()
    rows = [
        {"id": f"{i}{text}", "question": f"{text} 1+2?", "answer": text, "completion": f"{text}\nThe answer is {text}"}
        for i, text in enumerate(texts)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = str(folder / "rows.jsonl")
    ended = call("evaluate", "--completions", file, "--data", file, "--out", folder / "out")
    assert ended.code == 0, ended.err
    return Elements((folder / "out/report.html").read_text(encoding="utf-8"))


def test_no_text_of_a_completion_becomes_part_of_the_page(tmp_path: Path):
    hostile, plain = page_of(tmp_path / "hostile", HOSTILE), page_of(tmp_path / "plain", ("plain",) * len(HOSTILE))
    tags = {tag for tag, _ in plain.found}
    assert {tag for tag, _ in hostile.found} <= tags and not tags & {"img", "iframe", "object", "embed", "link"}
    for kind in ("script", "style", "meta"):
        assert [tag for tag, _ in hostile.found].count(kind) == [tag for tag, _ in plain.found].count(kind)
    names = {name for _, attributes in hostile.found for name in attributes}
    assert not [name for name in names if name.startswith("on")]
    links = [
        value or "" for _, attributes in hostile.found for name, value in attributes.items() if name in ("href", "src")
    ]
    assert all(link.startswith("#") for link in links)


def test_a_page_may_run_its_own_script_and_load_nothing(tmp_path: Path):
    page = page_of(tmp_path / "page", HOSTILE)
    [policy] = [a["content"] or "" for tag, a in page.found if a.get("http-equiv") == "Content-Security-Policy"]
    rules = {name: value for name, _, value in (rule.strip().partition(" ") for rule in policy.split(";"))}
    assert rules["default-src"] == "'none'"
    assert re.fullmatch(r"'sha256-[^ ]+'", rules.get("script-src", "'sha256-none'"))


def test_the_grader_computes_and_never_executes(tmp_path: Path, ran: Path):
    hostile = (
        f"__import__('os').mkdir({str(ran)!r})",
        f"\\boxed{{__import__('os').system('touch {ran}')}}",
        f"\\boxed{{\\input{{{ran}}}}}",
        f"\\boxed{{open({str(ran)!r}, 'w')}}",
        "\\boxed{9^{9^{9^{9^{9}}}}}",
        "\\boxed{" + "(" * 3000 + "1" + ")" * 3000 + "}",
    )
    rows = [{"prediction": f"The answer is {text}", "gold": "\\frac{1}{2}"} for text in hostile]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = call("grade", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl", "--jobs", "1")
    assert ended.code == 0, ended.err
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == len(hostile)
    assert not ran.exists()


def test_a_data_set_of_the_hub_is_asked_for_no_code(monkeypatch: pytest.MonkeyPatch):
    import datasets

    asked: list[dict[str, object]] = []

    def load(*names: str | None, **options: object) -> list[dict[str, str]]:
        asked.append(options)
        return [{"prompt": "1+2"}]

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert [prompt.text for prompt in read_prompts("owner/name")] == ["1+2"]
    assert asked == [{"split": "train"}]
