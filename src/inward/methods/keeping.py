"""Which checkpoint a method keeps: every one is probed on a few training prompts, and `diagnose.rule` decides."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from peft import PeftModel
from torch import nn
from transformers.modeling_utils import PreTrainedModel

from inward.answers import AnswerSettings
from inward.diagnose import Decision, StopSettings, decide, history, monitors, support, votes
from inward.diagnose.ways import voters
from inward.methods.start import Start
from inward.methods.watching import answer_of, sights_of
from inward.models import Policy, load_model
from inward.runs import RunFolder
from inward.sample import SamplingSettings, sample
from inward.score import score
from inward.train import save
from inward.types import Prompt, TraceGroup

VOTES = "probe.json"
"""The prompts of the probe, and the start model's votes on them."""


@dataclass(frozen=True, kw_only=True)
class Prober:
    """Puts the same few training prompts to the start model and to every checkpoint."""

    prompts: Sequence[Prompt]
    answer: AnswerSettings
    settings: StopSettings
    sampling: SamplingSettings
    seed: int

    def start_votes(self, policy: Policy) -> list[dict[str, int]]:
        """[P] votes of the start model by answer, of those of its traces that vote (`diagnose.ways.voters`)."""
        groups = list(self._groups(policy, "sample", self.settings.start_samples, self.seed))
        lengths = [[len(trace.completion_ids) for trace in group.traces] for group in groups]
        sure = [[one.measures["answer_disparity"] for one in group.traces] for group in score(groups, self.answer)]
        return [
            votes([answer for answer, own in zip(self._answers(group), row, strict=True) if own])
            for group, row in zip(groups, voters(lengths, sure), strict=True)
        ]

    def __call__(
        self, policy: Policy, start_votes: Sequence[Mapping[str, int]]
    ) -> tuple[tuple[float, ...], dict[str, float]]:
        """Support of a checkpoint's answers, prompt by prompt, and monitors of its sampled traces."""
        # Other draws than those of the votes, and the same for every checkpoint.
        groups = list(self._groups(policy, "evaluate", self.settings.samples, self.seed + 1))
        given = [self._answers(group) for group in groups]
        seen = sights_of([dataclasses.replace(group, traces=group.traces[1:]) for group in groups], self.answer)
        supported = support(start_votes, [first for first, *_ in given], [others for _, *others in given])
        return supported, monitors(seen)

    def _groups(self, policy: Policy, strategy: str, num: int, seed: int) -> Iterator[TraceGroup]:
        params = dataclasses.replace(self.sampling.params(policy, seed), strategy=strategy, group_size=num)
        return sample(self.prompts, policy, params, batch_rows=self.sampling.batch_rows)

    def _answers(self, group: TraceGroup) -> list[str | None]:
        own = self.answer.for_prompt(group.prompt)
        return [answer_of(trace.completion, own) for trace in group.traces]


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """Checkpoints of a training in its run folder, and the one that stays."""

    folder: RunFolder
    start: Start
    prober: Prober | None
    """None keeps the last checkpoint."""
    about: Mapping[str, Any]
    """The start policy without its model, to make a policy of a checkpoint."""

    @property
    def work(self) -> Path:
        """Where the trainer may keep its own checkpoints."""
        return self.folder.path / "trainer"

    def train(self, training: Callable[[], int]) -> Path:
        """Probe the start model, train, and return the folder of the checkpoint that is kept.

        Those of every step that was told of stay under `checkpoints/`, named by their step; step 0 is the start model.

        Args:
            training: trains from the start model or resumes, and returns the number of updates.
        """
        crew = self.folder.crew
        if not crew.agree((self.folder.path / "checkpoint").exists):
            with self.folder.timed("train"):
                steps = crew.agree(self._ended) or training()
            crew.agree(lambda: self._keep(steps))
        if crew.leads:
            shutil.rmtree(self.work, ignore_errors=True)
        return self.folder.path / "checkpoint"

    def _ended(self) -> int | None:
        """The step that the rule has stopped this training at, after the start model was probed."""
        if self.prober and not self._probed(0):
            self._probe(self.start.policy, 0)
        said = self.decision()
        return said.stop_step if said and self._stops else None

    def _keep(self, steps: int) -> None:
        decided = self.decision()
        kept = decided.kept_step if decided else steps
        # Before the folder that says it is done: a kill between the two must not lose what was kept.
        self.folder.log("trained", steps=steps, kept_step=kept)
        self.folder.build("checkpoint", lambda out: self._copy(kept, out))

    def at_checkpoint(self, step: int, policy: nn.Module, write: Callable[[Path], None]) -> bool:
        """Keep and probe one checkpoint, unless that is done; whether training is to end here."""
        self.folder.build(f"checkpoints/{step:05d}", write)
        if self.prober is None:
            return False
        if not self._probed(step):
            self._probe(self.policy(policy), step)
        said = self.decision()
        return said is not None and said.stop_step is not None and self._stops

    def decision(self) -> Decision | None:
        """What the rule says of the checkpoints probed so far; None where there is no rule."""
        return decide(history(self.folder).probes, self.prober.settings) if self.prober else None

    def policy(self, model: nn.Module) -> Policy:
        """The start policy with another model, such as the one in training, its adapters inside it."""
        plain = cast(Any, model).get_base_model() if isinstance(model, PeftModel) else model
        return Policy(model=cast(PreTrainedModel, plain), **self.about)

    @property
    def _stops(self) -> bool:
        return self.prober is not None and self.prober.settings.action == "stop"

    def _probed(self, step: int) -> bool:
        return any(event["event"] == "probe" and event["step"] == step for event in self.folder.events())

    def _probe(self, policy: Policy, step: int) -> None:
        """Log what a checkpoint answers."""
        assert self.prober is not None
        if not (self.folder.path / VOTES).exists():
            asked = [prompt.id for prompt in self.prober.prompts]
            self.folder.write_json(VOTES, {"prompts": asked, "votes": self.prober.start_votes(policy)})
        supported, metrics = self.prober(policy, self.folder.read_json(VOTES)["votes"])
        self.folder.log("probe", step=step, support=supported, **metrics)

    def _copy(self, step: int, out: Path) -> None:
        """Fill `out` with the checkpoint of a step."""
        if step:
            shutil.copytree(self.folder.path / f"checkpoints/{step:05d}", out, dirs_exist_ok=True)
        else:
            model = self.start.settings
            save(load_model(self.start.path, model), self.start.path, out, model)


def keeping_of(
    prompts: Sequence[Prompt],
    start: Start,
    folder: RunFolder,
    stop: StopSettings | None,
    answer: AnswerSettings,
    sampling: SamplingSettings,
    seed: int,
) -> Keeping:
    """Draw some of the training prompts as a probe, by the seed; they are trained on as well."""
    policy = start.policy
    prober = stop and Prober(
        prompts=random.Random(seed).sample(list(prompts), min(stop.prompts, len(prompts))),
        answer=answer,
        settings=stop,
        sampling=dataclasses.replace(sampling, batch_rows=stop.batch_rows),
        seed=seed,
    )
    about = {field.name: getattr(policy, field.name) for field in dataclasses.fields(Policy) if field.name != "model"}
    return Keeping(folder=folder, start=start, prober=prober, about=about)
