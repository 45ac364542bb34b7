"""What the pages say is so: the file tree, the commands, the links, the settings, the keys of summary.json."""

import dataclasses
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import typer
import yaml

import inward
from inward.cli import app
from inward.cli.summary import SECONDS, _counts, _summary
from inward.config import EvaluationSettings, PromptSettings, RunConfig
from inward.methods import calibrating, probing, rlif, rlsc
from inward.methods.rlsf import Settings
from inward.runs import RunFolder

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for page in (*ROOT.glob("*.md"), *(file for top in ("docs", "recipes") for file in (ROOT / top).rglob("*.md")))
    if page.is_file()
)
LISTED = ("src/inward", "scripts", "docs", "recipes", "examples", ".ci")
"""Folders every file of which stands in the README's tree."""
CACHES = {"__pycache__", ".ipynb_checkpoints"}

PUBLIC = (
    "CONFIDENCE AnswerSettings Choice DataError Estimate EvalItem EvalReport FinishReason InwardError LoraSettings "
    "Manifest Message ModelError ModelSettings NoPairsError Outcome PairSettings Policy PreferencePair "
    "PreferenceSettings Problem Prompt RunFolder RunFolderError SamplingParams SamplingSettings ScoredGroup "
    "ScoredTrace SettingsError Source Span Trace TraceGroup TraceSignals "
    "answers calibration confidence evaluate load models organism rank sample score signals train"
)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def written(page: Path) -> str:
    """A page without its HTML comments, which readers do not see."""
    return re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def tree() -> dict[str, bool]:
    """Paths of the README's tree; True for a folder that stands for all it holds, since nothing is listed in it."""
    block = re.search(r"```text\n(.*?)```", written(ROOT / "README.md").partition("## Files")[2], re.DOTALL)
    assert block is not None, "README.md has no file tree under `## Files`"
    lines = [line for line in block[1].splitlines() if line.strip()]
    found: dict[str, bool] = {}
    parents: list[str] = []
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        depth, entry = indent(line), line.split()[0]
        parents[depth:] = [entry]
        found["".join(parents)] = entry.endswith("/") and indent(after) <= depth
    return found


def indent(line: str) -> int:
    return (len(line) - len(line.lstrip())) // 2


def test_every_path_of_the_readmes_tree_exists():
    missing = [path for path in tree() if (ROOT / path).is_dir() != path.endswith("/") or not (ROOT / path).exists()]

    assert not missing


def test_every_file_stands_in_the_readmes_tree():
    listed = tree()
    whole = tuple(path for path, stands_for_all in listed.items() if stands_for_all)
    files = [file for top in LISTED for file in (ROOT / top).rglob("*") if file.is_file()]
    present = [str(file.relative_to(ROOT)) for file in files if not CACHES & {*file.parts}]

    assert len(present) > 50
    assert not [path for path in present if path not in listed and not path.startswith(whole)]


def test_every_line_of_the_readmes_tree_says_what_it_is():
    block = written(ROOT / "README.md").partition("## Files")[2].partition("```text\n")[2].partition("```")[0]
    bare = [line for line in block.splitlines() if not line.rstrip().endswith("/") and len(line.split()) < 2]

    assert not bare


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_somewhere(page: Path):
    links = re.findall(r"\]\(([^)\s]+)\)", written(page))
    targets = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:", link)]

    assert not [target for target in targets if target and not (page.parent / target).exists()]


def commands(page: Path) -> Iterator[tuple[str, bool]]:
    """Commands on a page, and whether each is meant to be typed as it stands (not a mention like `inward run`)."""
    text = written(page)
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        yield from ((line, True) for line in block.replace("\\\n", " ").splitlines())
    yield from ((line, True) for line in re.findall(r"^ {4}(?=inward |scripts/)(.*)$", text, re.MULTILINE))
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    yield from ((line, False) for line in re.findall(r"`([^`\n]+)`", outside))


def shown_commands(first: str) -> list[Any]:
    found = [(page, *command) for page in PAGES for command in commands(page)]
    pattern = re.compile(rf"(?:\.venv/bin/)?({first}.*)")
    return [
        pytest.param(match[1], whole, id=f"{name(page)}: {match[1]}")
        for page, line, whole in found
        if (match := pattern.fullmatch(line.strip()))
    ]


@pytest.mark.parametrize(("line", "whole"), shown_commands("inward "))
def test_every_command_on_a_page_is_one_the_command_line_takes(line: str, whole: bool):
    words = shlex.split(line, comments=True)[1:]
    group: Any = typer.main.get_command(app)
    with group.make_context("inward", words[:1], resilient_parsing=True) as context:
        command = group.get_command(context, words[0])
        assert command is not None, f"there is no command {words[0]!r}"
        if whole:
            command.make_context(words[0], words[1:], parent=context)  # raises where something is missing or unknown
        else:
            options = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words[1:] if word.startswith("--")} <= options


@pytest.mark.parametrize(("line", "whole"), shown_commands("scripts/"))
def test_every_script_on_a_page_exists(line: str, whole: bool):
    assert (ROOT / line.split()[0]).is_file()


def resolved(settings: Any, path: str) -> Iterator[tuple[str, str]]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from resolved(value, f"{path}{field.name}.")
        else:
            yield f"{path}{field.name}", plain(value)


def plain(value: Any) -> str:
    """A value as the page writes it: `null`, `true`, `0.9`, `1e-06`, `[A, B]`."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(str, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value).replace("\n", "\\n")


def flat(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", plain(value)


def settings_rows(page: str = "docs/settings.md") -> dict[str, tuple[str, str, str]]:
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \| (.*?)\| (.*) \|$", written(ROOT / page), re.MULTILINE)
    assert len({row[0] for row in rows}) == len(rows), "a setting stands on the page twice"
    return {row[0]: (row[1].strip("`"), row[2].strip(" `"), row[3]) for row in rows}


def test_the_page_on_settings_has_every_setting_with_its_default_and_no_other():
    parts = ((Settings(), ""), (PromptSettings(), "prompts."), (EvaluationSettings(), "evaluation."))
    expected = {key: value for settings, path in parts for key, value in resolved(settings, path)}
    expected["report_to"] = plain(RunConfig.report_to)
    rows = settings_rows()

    tables = {key for key, (default, _, _) in rows.items() if default == "the rows below"}
    assert {key: default for key, (default, _, _) in rows.items() if key not in tables} == expected
    assert tables == {"optim.lora", "reward.lora", "policy.lora", "tuning.lora"}
    assert all(meaning.strip() for _, _, meaning in rows.values())


def test_the_page_on_rlif_has_every_setting_of_its_own_with_its_default_and_no_other():
    shared = ("model.", "answer.")
    expected = {key: value for key, value in resolved(rlif.Settings(), "") if not key.startswith(shared)}

    assert {key: default for key, (default, _, _) in settings_rows("docs/methods/rlif.md").items()} == expected


def test_the_page_on_rlsc_has_every_setting_of_its_own_with_its_default_and_no_other():
    shared = ("model.", "answer.", "stop.")
    expected = {key: value for key, value in resolved(rlsc.Settings(), "") if not key.startswith(shared)}

    assert {key: default for key, (default, _, _) in settings_rows("docs/methods/rlsc.md").items()} == expected


def test_the_page_on_calibration_has_every_setting_of_its_own_with_its_default_and_no_other():
    shared = ("model.", "answer.")
    expected = {key: value for key, value in resolved(calibrating.Settings(), "") if not key.startswith(shared)}

    assert {key: default for key, (default, _, _) in settings_rows("docs/methods/calibration.md").items()} == expected


def test_the_page_on_probing_has_every_setting_of_its_own_with_its_default_and_no_other():
    shared = ("model.", "answer.")
    expected = {key: value for key, value in resolved(probing.Settings(), "") if not key.startswith(shared)}

    assert {key: default for key, (default, _, _) in settings_rows("docs/methods/probe.md").items()} == expected


@pytest.mark.parametrize(
    ("page", "method", "elsewhere"),
    [
        ("docs/settings.md", "rlsf", ()),
        ("docs/methods/rlif.md", "rlif", ("prompts.", "answer.", "evaluation.")),
        ("docs/methods/rlsc.md", "rlsc", ("prompts.", "answer.", "evaluation.", "stop.")),
        ("docs/methods/calibration.md", "calibrate", ("answer.",)),
        ("docs/methods/probe.md", "probe", ("answer.",)),
    ],
)
def test_the_pages_on_settings_have_the_recipes_of_the_embedded_models(
    page: str, method: str, elsewhere: tuple[str, ...]
):
    recipe = yaml.safe_load((ROOT / f"src/inward/methods/{method}-embedded.yaml").read_text(encoding="utf-8"))
    assert recipe.pop("method") == method
    expected = {key: value for key, value in flat(recipe) if not key.startswith(elsewhere)}

    assert {key: embedded for key, (_, embedded, _) in settings_rows(page).items() if embedded} == expected


def test_the_page_on_summaries_has_every_key_and_no_other():
    folder = Mock(spec=RunFolder)
    folder.manifest = Mock(method="rlsf", labels_used=False, seed=0, recipe="defaults")
    folder.records.return_value = folder.events.return_value = []
    folder.seconds.return_value = dict.fromkeys([*SECONDS, "curve/00010/scored"], 1.0)
    summary = _summary(folder, None, "m", None, None, ())
    sections = written(ROOT / "docs/summary.md").split("\n## ")
    pages = {part.splitlines()[0]: set(re.findall(r"^\| `(\w+)`", part, re.MULTILINE)) for part in sections}

    assert pages["# summary.json"] == set(summary)
    assert pages["Counts"] == set(_counts(folder)) == set(summary["counts"])
    assert pages["Seconds"] == set(summary["seconds"]) > set(SECONDS.values())


def test_the_public_names_are_these_and_all_of_them_resolve():
    assert sorted(inward.__all__) == sorted(PUBLIC.split())
    assert all(getattr(inward, public) is not None for public in inward.__all__)
    assert set(inward.__all__) <= set(dir(inward))
    assert not hasattr(inward, "pairs")


def test_importing_inward_loads_nothing_heavy():
    script = (
        "import sys, inward\n"
        "inward.Prompt(id='1', text='Why?')\n"
        "print(inward.__version__, *{m.partition('.')[0] for m in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    version, *loaded = done.stdout.split()

    assert version == inward.__version__
    assert not {"torch", "numpy", "transformers", "trl", "pyarrow", "typer"} & {*loaded}
