"""From YAML and `--set` to settings: strict, with the path of every mistake in its message."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from inward.answers import AnswerSettings
from inward.errors import InwardError, SettingsError
from inward.evaluate import Decoding
from inward.methods.settings import calibrating, probing, rlif, rlsc, rlsf
from inward.settings import ModelSettings
from inward.settings.plain_yaml import MOST_LEVELS, parse_yaml, shortened
from inward.settings.trainer import Tracker, check_trackers
from inward.tasks.formats import Format

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """Which prompts of a file are used."""

    limit: int | None = None
    """The first so many; None: all. For `embedded`, how many are made (256 where None)."""
    split: str = "train"
    """Of a hub data set, or a folder of files."""
    format: Format = "plain"
    """How a question is put to the model: see `inward.tasks.formats`."""
    too_long: Literal["error", "drop"] = "error"
    """What happens where a prompt fills the model's context."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise SettingsError(f"limit must be at least 1, got {self.limit}")


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How a checkpoint is judged."""

    num_problems: int | None = None
    """The first so many of a file, or how many a generated task makes (320 where None)."""
    num_samples: int = 16
    """Samples per problem, beside the greedy trace; 0 for the greedy trace alone."""
    format: Format | None = None
    """How a question is put to the model; None: as the prompts are."""
    decoding: Decoding = "greedy"
    """How the answer to a problem is found."""
    num_branches: int = 10
    """Of `cot_decoding` and `cot_decoding_sum`: the most probable first tokens, each continued greedily (RLSF
    README: 10)."""
    cot_prompt: str = "\n\nPlease solve the math problem step by step."
    """Of `cot_prompt`: appended to the prompt as it stands (RLSF README)."""
    reference: str | None = None
    """A model with the same tokens, by whose probability the answers are judged, too."""
    temperature: float = 1.0
    top_p: float = 1.0
    max_completion_tokens: int | None = None
    """None: the model's own `max_new_tokens`, else 256."""
    batch_rows: int = 256
    """Traces decoded at once."""
    seed: int = 1
    """Of the samples, and of the problems a generated task makes; the run's own seed does not move it."""

    def __post_init__(self) -> None:
        for name in ("num_problems", "max_completion_tokens", "batch_rows", "num_branches"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{name} must be at least 1, got {value}")
        if self.num_samples < 0:
            raise SettingsError(f"num_samples must be at least 0, got {self.num_samples}")
        if self.decoding == "self_consistency" and not self.num_samples:
            raise SettingsError("num_samples must be at least 1: self_consistency is the vote of the samples")
        if not self.temperature > 0 or not 0 < self.top_p <= 1:
            raise SettingsError("temperature must be above 0 and top_p in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A whole `inward run`: the prompts, the method's own settings and the evaluation.

    In a file the method's settings stand beside `prompts` and `evaluation`, not in a table of their own.
    """

    method: str
    recipe: str
    """Where the defaults came from: `defaults`, `shipped:<name>` or a file."""
    prompts: PromptSettings
    evaluation: EvaluationSettings
    settings: rlsf.Settings | rlif.Settings | rlsc.Settings
    report_to: tuple[Tracker, ...] = ()
    """Where the log of the training is shown besides. No part of what a run is: it stands in no manifest."""

    def __post_init__(self) -> None:
        check_trackers(self.report_to)

    def plain(self) -> dict[str, Any]:
        """Nested plain values, as in a configuration file, without `report_to`."""
        return {
            "prompts": dataclasses.asdict(self.prompts),
            "evaluation": dataclasses.asdict(self.evaluation),
            **dataclasses.asdict(self.settings),
        }


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """An `inward evaluate`."""

    model: ModelSettings = ModelSettings()
    answer: AnswerSettings = AnswerSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    def plain(self) -> dict[str, Any]:
        """Nested plain values, as in a configuration file."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig:
    """An `inward calibrate`: the prompts, and the settings of `methods.calibrating` beside them."""

    prompts: PromptSettings
    settings: calibrating.Settings

    def plain(self) -> dict[str, Any]:
        """Nested plain values, as in a configuration file."""
        return {"prompts": dataclasses.asdict(self.prompts), **dataclasses.asdict(self.settings)}


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """An `inward probe`: the prompts, and the settings of `methods.probing` beside them."""

    prompts: PromptSettings
    settings: probing.Settings

    def plain(self) -> dict[str, Any]:
        """Nested plain values, as in a configuration file."""
        return {"prompts": dataclasses.asdict(self.prompts), **dataclasses.asdict(self.settings)}


STRICT = ConfigDict(strict=True, allow_inf_nan=False)

METHODS: dict[str, type[rlsf.Settings] | type[rlif.Settings] | type[rlsc.Settings]] = {
    "rlsf": rlsf.Settings,
    "rlif": rlif.Settings,
    "rlsc": rlsc.Settings,
}

SHIPPED: dict[tuple[str, str], str] = {
    ("rlsf", "embedded"): "rlsf-embedded.yaml",
    ("rlif", "embedded"): "rlif-embedded.yaml",
    ("rlsc", "embedded"): "rlsc-embedded.yaml",
    ("evaluate", "embedded"): "evaluate-embedded.yaml",
    ("calibrate", "embedded"): "calibrate-embedded.yaml",
    ("probe", "embedded"): "probe-embedded.yaml",
}
"""Recipe that stands in for the paper's where no --config is given, by method and kind of model."""


TaskAnswers = Sequence[tuple[str, Mapping[str, object]]]
"""Names of tasks, and what the answers of each look like as settings of `answer`."""


def run_config(
    method: str, model: str, file: Path | None, overrides: Sequence[str], tasks: TaskAnswers = ()
) -> RunConfig:
    """Settings of a method from a recipe, a file and `--set` overrides, each winning over the one before.

    Args:
        method: a key of `METHODS`.
        model: the model as the user named it; `embedded:*` takes the shipped recipe where there is no file.
        file: a YAML file, or None.
        overrides: texts like `pairs.gamma=0.5`; the value is read as YAML.
        tasks: what they say of answers holds where neither the file nor the overrides do.

    Raises:
        SettingsError: a setting is unknown, of the wrong type or out of range; the message names its path.
    """
    if method not in METHODS:
        raise SettingsError(f"method {method!r} is unknown; choose one of {', '.join(METHODS)}")
    return _run_config(method, *_values(method, model, file, overrides, tasks))


def stored_config(method: str, stored: Mapping[str, object], recipe: str, overrides: Sequence[str]) -> RunConfig:
    """Settings as a manifest keeps them, with overrides."""
    values = copy.deepcopy(dict(stored))
    for text in overrides:
        _put(values, text)
    return _run_config(method, values, recipe)


def evaluate_config(
    model: str, file: Path | None, overrides: Sequence[str], tasks: TaskAnswers = ()
) -> tuple[EvaluateConfig, str]:
    """Settings of an evaluation, and where their defaults came from; see `run_config`."""
    values, recipe = _values("evaluate", model, file, overrides, tasks)
    return build(EvaluateConfig, values), recipe


def calibrate_config(
    model: str, file: Path | None, overrides: Sequence[str], tasks: TaskAnswers = ()
) -> tuple[CalibrateConfig, str]:
    """Settings of a recalibration, and where their defaults came from; see `run_config`."""
    values, recipe = _values("calibrate", model, file, overrides, tasks)
    prompts = _value(PromptSettings, values.pop("prompts", {}), "prompts")
    return CalibrateConfig(prompts=prompts, settings=build(calibrating.Settings, values)), recipe


def probe_config(
    model: str, file: Path | None, overrides: Sequence[str], tasks: TaskAnswers = ()
) -> tuple[ProbeConfig, str]:
    """Settings of a probe, and where their defaults came from; see `run_config`."""
    values, recipe = _values("probe", model, file, overrides, tasks)
    prompts = _value(PromptSettings, values.pop("prompts", {}), "prompts")
    return ProbeConfig(prompts=prompts, settings=build(probing.Settings, values)), recipe


def _run_config(method: str, values: dict[str, Any], recipe: str) -> RunConfig:
    own = {key: values.pop(key, {}) for key in ("prompts", "evaluation")}
    trackers = values.pop("report_to", None) or []  # of transformers' ways to write it, a text and a list
    return RunConfig(
        method=method,
        recipe=recipe,
        prompts=_value(PromptSettings, own["prompts"], "prompts"),
        evaluation=_value(EvaluationSettings, own["evaluation"], "evaluation"),
        settings=build(METHODS[method], values),
        report_to=_value(tuple[Tracker, ...], [trackers] if isinstance(trackers, str) else trackers, "report_to"),
    )


def _values(
    method: str, model: str, file: Path | None, overrides: Sequence[str], tasks: TaskAnswers
) -> tuple[dict[str, Any], str]:
    recipe, values = "defaults", {}
    shipped = SHIPPED.get((method, model.partition(":")[0]))
    if file is not None:
        recipe, values = str(file), _read(file)
    elif shipped:
        path = Path(__file__).parent / "methods" / shipped
        recipe, values = f"shipped:{path.stem}", _read(path)
    if values.pop("method", method) != method:
        raise SettingsError(
            f"{recipe} is not for {method}: what they share, such as model, answer and evaluation, goes into a file of "
            f"its own with `method: {method}`"
        )
    own = {"answer": values.get("answer", {}) if file is not None else {}}
    for text in overrides:
        _put(values, text)
        _put(own, text)
    taken = _task_answers(own["answer"], tasks)
    if taken:
        values["answer"] = values.get("answer", {}) | taken
        recipe += f", answer.{' and answer.'.join(taken)} of the task"
    return values, recipe


def _task_answers(own: Any, tasks: TaskAnswers) -> dict[str, object]:
    """What all tasks say of answers, where the user's own settings leave the kind open.

    Raises:
        SettingsError: Two tasks have answers of different kinds.
    """
    said = {name: answers for name, answers in tasks if answers}
    if not said or not isinstance(own, Mapping) or "kind" in own:
        return {}
    if len({answers["kind"] for answers in said.values()}) > 1:
        kinds = ", ".join(f"{answers['kind']} of {name}" for name, answers in said.items())
        raise SettingsError(f"answers are of different kinds: {kinds}; set answer.kind, as in answer.kind=auto")
    first, *others = said.values()
    shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    return {key: value for key, value in shared.items() if key not in own}


def build(config: type[T], values: Mapping[str, Any], path: str = "") -> T:
    """Make a settings dataclass from plain values.

    Raises:
        SettingsError: a key is unknown or a value has the wrong type or range; the message names its path.
    """
    hints = typing.get_type_hints(config)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        near = difflib.get_close_matches(unknown[0], hints, n=1)
        known = ", ".join(path + key for key in hints)
        hint = f"did you mean {path}{near[0]}?" if near else f"known are {known}"
        raise SettingsError(f"unknown setting {path}{shortened(unknown[0])}; {hint}")
    given = {key: _value(hints[key], value, f"{path}{key}") for key, value in values.items()}
    try:
        return config(**given)
    except InwardError as error:
        raise SettingsError(f"{path}{error}" if path else str(error)) from error


def _value(hint: Any, value: Any, path: str) -> Any:
    members = (hint, *typing.get_args(hint))
    nested = next((m for m in members if dataclasses.is_dataclass(m)), None)
    if nested is None:
        try:
            # A YAML list is the only way to write a tuple; beside that no type stands in for another.
            given = tuple(value) if isinstance(value, list) else value
            return TypeAdapter[Any](hint, config=STRICT).validate_python(given)
        except ValidationError as error:
            raise SettingsError(f"{path}: {_refusal(hint, value, error)}") from error
    if value is None and type(None) in members:
        return None
    if not isinstance(value, Mapping):
        raise SettingsError(f"{path} takes a table of settings, got {_shown(value)}")
    return build(typing.cast("type[Any]", nested), value, path + ".")


def _refusal(hint: Any, value: Any, error: ValidationError) -> str:
    """What a setting takes and what it got; of a setting with named choices all of them, and the nearest one."""
    choices = _choices(hint)
    given = value if isinstance(value, list) else [value]
    wrong = [one for one in given if isinstance(one, str) and one not in choices]
    if not choices or not wrong:
        return f"{error.errors()[0]['msg']}, got {_shown(value)}"
    near = difflib.get_close_matches(wrong[0], choices, n=1)
    *others, last = map(repr, choices)
    listed = f"{', '.join(others)} or {last}" if others else last
    return f"Input should be {listed}, got {_shown(value)}" + (f"; did you mean {near[0]!r}?" if near else "")


def _choices(hint: Any) -> list[str]:
    """The texts that a type takes by name, unions looked into."""
    if typing.get_origin(hint) is Literal:
        return [one for one in typing.get_args(hint) if isinstance(one, str)]
    return [choice for member in typing.get_args(hint) for choice in _choices(member)]


def _shown(value: Any) -> str:
    """A value as a message shows it: whole, or its beginning where it is long."""
    return shortened(repr(value))


def _read(file: Path) -> dict[str, Any]:
    try:
        values = parse_yaml(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{file} is no YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"{file} must hold settings by name, found a {type(values).__name__}")
    return values


def _put(values: dict[str, Any], text: str) -> None:
    key, sign, value = text.partition("=")
    *tables, name = key.strip().split(".")
    if not sign or not name or len(tables) > MOST_LEVELS:
        raise SettingsError(f"--set takes name=value, as in pairs.gamma=0.5; got {_shown(text)}")
    try:
        parsed = parse_yaml(value)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"--set {shortened(key)}: {_shown(value)} is no YAML value ({reason})") from error

    def enter(table: dict[str, Any], part: str) -> dict[str, Any]:
        inner = table.get(part)
        if not isinstance(inner, dict):
            inner = table[part] = {}
        return inner

    reduce(enter, tables, values)[name] = parsed
