"""Parsers fed with bytes that atheris makes, guided by what code they reach: `docs/reliability.md` has the figures.

`scripts/fuzz --target NAME --seconds N [--json]`. A finding is an exception that is no error for users, a broken
promise of the docstrings, an input that takes longer than `SLOW` seconds or more than `ROOM` MiB, or a crash. What
makes one is kept in the folder that is named.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inward.types import AnswerKind

SLOW, ROOM = 10, 4096
LONGEST = 4096
"""Bytes of an input."""

KINDS: tuple[AnswerKind, ...] = ("number", "choice", "text", "latex", "auto")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What came of a target."""

    target: str
    executions: int
    seconds: float
    finding: str | None
    """The input that makes it."""


def texts(data: bytes) -> tuple[AnswerKind, bool, str, str]:
    """A kind of answer, a choice, and two texts with a zero byte between them."""
    number, first, second = data[:1] or b"0", *data[1:].decode(errors="replace").partition("\0")[::2]
    return KINDS[number[0] % len(KINDS)], number[0] >= 128, first, second


def answers() -> tuple[Callable[[bytes], None], list[bytes]]:
    """`find`, `locate` and `earliest`: spans lie in the text, and are not empty."""
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["inward.answers"]):
        from inward import answers

    def one(data: bytes) -> None:
        kind, strict, probe, text = texts(data)
        for found in (answers.find(text, kind, strict=strict), answers.locate(probe, text, kind)):
            if found is None:
                continue
            assert found.answer and 0 <= found.chars.start < found.chars.end <= len(text)
            first = answers.earliest(found, text, kind).chars
            assert 0 <= first.start < first.end <= len(text) and first.start <= found.chars.start

    seeds = ("So 2 + 2 = 4. The answer is 1,234.5 apples.", "#### \\boxed{\\frac{1}{2}}", "The answer is (B), not A.")
    seeds += ("It is $18 or 19; no, wait: 3 \\times 10^5.", "The final answer is Paris.", "x = -1 1/2 %")
    return one, [f"{kind} 18 or so\0{seed}".encode() for kind in range(len(KINDS)) for seed in seeds]


def equivalence() -> tuple[Callable[[bytes], None], list[bytes]]:
    """All but computer algebra: two answers are the same as themselves, and compared alike from either side."""
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["inward.equivalence", "fractions"]):
        from inward import equivalence
        from inward.equivalence import exact, expressions

    expressions._compared = lambda answer, gold: None  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]

    def one(data: bytes) -> None:
        kind, words, left, right = texts(data)
        assert equivalence.same(left, left, kind) is not False
        equivalence.same(left, right, kind)
        equivalence.is_list(left)
        assert equivalence.majority([left, None, left, right], kind) == left
        one, other = exact.read(left, words=words), exact.read(right, words=words)
        if one and other:
            assert exact.equal(one, one) and exact.equal(one, other) == exact.equal(other, one)

    pairs = ("1,000\0001e3", "3/4\0000.75", "50%\0000.5", "x = 5\0005", "\\frac{1}{2}\0000.5", "{1, 2}\0002, 1")
    pairs += ("$5M\0005 million", "0.\\overline{3}\0001/3", "101_2\0005", "12 km\00012,000 m", "(0, 1]\000[0, 1)")
    pairs += ("March 3, 2020\0002020-03-03", "(B)\000B", "2\\sqrt{3}\000\\sqrt{12}")
    return one, [f"{kind}{pair}".encode() for kind in range(len(KINDS)) for pair in pairs]


def config() -> tuple[Callable[[bytes], None], list[bytes]]:
    """A file of settings, and `--set`: taken, or refused as settings."""
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["inward.config", "inward.settings.plain_yaml", "yaml"]):
        from inward.config import run_config
    from inward.errors import SettingsError

    file = Path(tempfile.mkdtemp(prefix="inward-fuzz-")) / "any.yaml"

    def one(data: bytes) -> None:
        provider = atheris.FuzzedDataProvider(data)
        method = ("rlsf", "rlif", "rlsc")[provider.ConsumeIntInRange(0, 2)]
        override = provider.ConsumeUnicode(provider.ConsumeIntInRange(0, 80))
        file.write_bytes(provider.ConsumeBytes(LONGEST))
        for path, overrides in ((file, ()), (None, (override,))):
            with suppress(SettingsError):
                run_config(method, "some/model", path, overrides)

    files = [*Path("src/inward/methods").glob("*.yaml"), *Path("recipes").rglob("*.yaml")]
    odd = (
        "0x_",
        "!!bool x",
        "!!float x",
        "!!int ''",
        "2025-13-45",
        "&a [*a]",
        "[" * 1000,
        "0x" + "f" * 100,
        "1:59:59:59",
    )
    odd += ("[&a [x, x], &b [*a, *a], &c [*b, *b]]", "[&a {x: y}, &b {<<: [*a, *a]}]", "optim: {trl: {a: [1e-4, ~]}}")
    plain = [file.read_bytes() for file in files] + [f"pairs: {{gamma: {text}}}".encode() for text in odd]
    overrides = [f"pairs.gamma={text}".encode()[:80] for text in odd]
    # The numbers are read off the end: of the method, and of the characters of the override before the file.
    return one, [text + b"\0\0" for text in plain] + [text + bytes([len(text), 0]) for text in overrides]


def shards() -> tuple[Callable[[bytes], None], list[bytes]]:
    """A parquet file of traces, a manifest and a list of shards: read, or named as damaged."""
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["inward.runs"]):
        from inward.runs import records, shards
    from inward.errors import RunFolderError
    from inward.parsing import parse_json
    from inward.types import FinishReason, Manifest, Source, Trace, TraceSignals

    folder = Path(tempfile.mkdtemp(prefix="inward-fuzz-"))
    path = shards.shard_path(folder, 0)
    signals = TraceSignals(logprob=(-0.5,), entropy=(1.0,), self_certainty=(0.5,), disparity=(0.25,))
    trace = Trace(
        prompt_id="a",
        index=0,
        source=Source.SAMPLE,
        prompt_ids=(1, 2),
        completion_ids=(3,),
        completion="x",
        token_ends=(1,),
        finish_reason=FinishReason.STOP,
        policy="m",
        signals=signals,
    )
    shards.write_shard(path, [trace] * 3, Trace, (0, 3))
    whole = path.read_bytes()

    def one(data: bytes) -> None:
        provider = atheris.FuzzedDataProvider(data)
        # Damage to a whole file gets further than a file from nothing.
        content = bytearray(whole)
        for _ in range(provider.ConsumeIntInRange(0, 8)):
            at = provider.ConsumeIntInRange(0, len(content))
            content[at : at + provider.ConsumeIntInRange(0, 4)] = provider.ConsumeBytes(
                provider.ConsumeIntInRange(0, 4)
            )
        made_up = provider.ConsumeBool()  # before the rest, which leaves nothing to draw from
        rest = provider.ConsumeBytes(LONGEST)
        path.write_bytes(rest if made_up else content)
        with suppress(RunFolderError):
            assert shards.checked_count(path, (0, 3)) == len(list(shards.read_shard(path, Trace)))
        with suppress(ValueError):
            records.from_json(Manifest, parse_json(rest))

    made_up = (whole, b'{"inward": "1", "seed": 0}', b'{"shards": 1, "records": 3}')
    return one, [b"\0\0", *(text + b"\1\0" for text in made_up)]


TARGETS = {"answers": answers, "equivalence": equivalence, "config": config, "shards": shards}


def work(target: str, folder: Path, seconds: int) -> None:
    """Fuzz in this process, which libFuzzer ends."""
    atheris: Any = import_module("atheris")
    one, seeds = TARGETS[target]()
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={SLOW}", f"-rss_limit_mb={ROOM}"]
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={folder}/", "-print_final_stats=1", *limits], one)
    atheris.Fuzz()


def fuzz(target: str, folder: Path, seconds: int) -> Ended:
    """Fuzz in a process of its own, which a finding ends."""
    here = [sys.executable, __file__, "--work", "--target", target, "--seconds", str(seconds), "--out", str(folder)]
    done = subprocess.run(here, capture_output=True, text=True, errors="replace", check=False)
    (folder / "log.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    runs = re.findall(r"(?:stat::number_of_executed_units:|Done) +([0-9]+)", done.stderr)
    spent = re.findall(r"runs in ([0-9]+) second", done.stderr)
    found = sorted(folder.glob("*-*"))
    if done.returncode and not found:
        raise SystemExit(done.stderr[-3000:])
    return Ended(
        target=target,
        executions=int(runs[-1]) if runs else 0,
        seconds=float(spent[-1]) if spent else 0.0,
        finding=str(found[0]) if found else None,
    )


def main() -> None:
    """Fuzz one target, or all in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", choices=[*TARGETS, "all"], default="all")
    parser.add_argument("--seconds", type=int, default=300, help="for each target")
    parser.add_argument("--out", type=Path, help="where inputs are kept; a temporary folder by default")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        work(asked.target, asked.out, asked.seconds)
        return
    home = asked.out or Path(tempfile.mkdtemp(prefix="inward-fuzz-"))
    ended: list[Ended] = []
    for target in TARGETS if asked.target == "all" else (asked.target,):
        folder = home / target
        folder.mkdir(parents=True, exist_ok=True)
        ended.append(fuzz(target, folder, asked.seconds))
        if not asked.json:
            one = ended[-1]
            print(f"{target}: {one.executions:,} executions in {one.seconds:.0f} s, {one.finding or 'no finding'}")
    if asked.json:
        print(json.dumps([asdict(one) for one in ended], indent=2))
    sys.exit(any(one.finding for one in ended))


if __name__ == "__main__":
    main()
