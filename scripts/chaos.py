"""Small runs killed at random moments and met by other disasters, each run again and compared with one left in peace.

`scripts/chaos --kills N [--seed S] [--json]`; `docs/reliability.md` says what is compared, and what came out.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos_disasters import DISASTERS, ONLINE, in_a_row, sigterm
from chaos_runs import (
    COMMANDS,
    STAGES,
    Running,
    artefacts,
    differing,
    import_all,
    left_in_peace,
    spans,
    stage_of,
    start,
    strike,
)

METHODS = ("rlsf", "rlsf", "rlif", "rlsf", "rlsc")
"""RLSF oftener, since it alone has all the stages."""
WHAT = ("kills", "disasters", "online", "sigterm")


@dataclass(frozen=True, kw_only=True)
class Blow:
    """One kill and what became of the run."""

    method: str
    stage: str
    """Where the kill fell."""
    outcome: str
    """`identical` or `failed`: a killed run has to go on."""
    said: str = ""
    """What the command said last, or which files differ."""


def kill_once(method: str, stage: str, peaceful: Path, folder: Path, draw: random.Random) -> Blow:
    """Kill a run in a stage with SIGKILL, run the same command again, and compare."""
    running = strike(method, stage, peaceful, folder, signal.SIGKILL, share=draw.random())
    assert running.code == -signal.SIGKILL, running.said
    fell = stage_of(folder / "out")
    again = start(COMMANDS[method], folder)
    again.wait()
    return Blow(method=method, stage=fell, **judged(again, peaceful, folder))


def judged(ended: Running, peaceful: Path, folder: Path) -> dict[str, str]:
    """The outcome of a command that was run again, which nothing keeps from its end any more."""
    if ended.code != 0:
        return {"outcome": "failed", "said": ended.error() or ended.said[-2000:]}
    unlike = differing(artefacts(peaceful / "out"), artefacts(folder / "out"))
    if unlike:
        return {"outcome": "failed", "said": "differ: " + ", ".join(unlike)}
    return {"outcome": "identical", "said": ""}


def kills(num: int, seed: int, home: Path, peaceful: dict[str, Path]) -> list[Blow]:
    """So many kills; the stages take turns in a drawn order, and the moment within each is drawn."""
    draw = random.Random(seed)
    blows: list[Blow] = []
    turns: dict[str, list[str]] = collections.defaultdict(list)
    for i in range(num):
        method = METHODS[i % len(METHODS)]
        if not turns[method]:
            turns[method] = draw.sample(sorted(spans(peaceful[method])), k=len(spans(peaceful[method])))
        with tempfile.TemporaryDirectory(dir=home) as folder:
            blow = kill_once(method, turns[method].pop(), peaceful[method], Path(folder), draw)
        print(f"kill {i + 1}: {blow.method} in {blow.stage}: {blow.outcome} {blow.said}".rstrip(), file=sys.stderr)
        blows.append(blow)
    return blows


def counted(blows: Sequence[Blow], disasters: Mapping[str, Mapping[str, str]]) -> dict[str, object]:
    """What `--json` prints."""
    outcomes = collections.Counter(blow.outcome for blow in blows)
    fell = collections.Counter(blow.stage for blow in blows)
    return {
        "kills": len(blows),
        "identical": outcomes["identical"],
        "failed": outcomes["failed"],
        "by_stage": {stage: fell[stage] for stage in STAGES},
        "by_method": dict(collections.Counter(blow.method for blow in blows)),
        "disasters": disasters,
    }


def main() -> None:
    """Read the command line, wreak havoc, and exit with 1 where a run did not survive it."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="how many runs to kill (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of words")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=WHAT,
        default=WHAT,
        help="leave out the others: SIGTERM in every stage, the other disasters of RLSF, those of RLIF",
    )
    options = parser.parse_args()
    import_all()
    num = options.kills if "kills" in options.only else 0
    with tempfile.TemporaryDirectory(prefix="inward-chaos-") as folder:
        home = Path(folder)
        peaceful = {method: left_in_peace(method, home / method) for method in sorted(set(METHODS[:num]))}
        blows = kills(num, options.seed, home, peaceful)
        disasters = in_a_row(DISASTERS, "rlsf", home, judged) if "disasters" in options.only else {}
        disasters |= in_a_row(ONLINE, "rlif", home, judged) if "online" in options.only else {}
        disasters |= sigterm(home, judged) if "sigterm" in options.only else {}
    result = counted(blows, disasters)
    survived = not result["failed"] and all(one["outcome"] != "failed" for one in disasters.values())
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print(
            f"{result['kills']} kills: {result['identical']} ended in identical artefacts, "
            f"{result['failed']} failed; they fell in {result['by_stage']}"
        )
        for disaster, one in disasters.items():
            print(f"{disaster}: {one['outcome']} {one['said']}".rstrip())
    sys.exit(0 if survived else 1)


if __name__ == "__main__":
    main()
