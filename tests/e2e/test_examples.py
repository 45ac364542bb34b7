"""The code on the pages and under examples/ runs."""

import json
import re
import subprocess
import sys
from pathlib import Path

from commands import ENVIRONMENT, forked
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).parents[2]


def run(*args: str | Path) -> str:
    ended = forked(*args)
    assert ended.code == 0, ended.err
    return ended.out


def test_the_method_in_one_file_trains_a_model_that_transformers_loads(tmp_path: Path):
    out = tmp_path / "trained"

    said = run(ROOT / "examples/rlsf_in_one_file.py", "--out", out, "--prompts", "8", "--problems", "16")

    before, made, after = said.splitlines()
    assert re.fullmatch(r"greedy accuracy before: [01]\.\d{3}", before)
    assert re.fullmatch(r"greedy accuracy after:  [01]\.\d{3}", after)
    pairs, _, gap = made.partition(" pairs; the widest gap is ")
    assert 1 <= int(pairs) <= 8 * 4 and 0.02 < float(gap) <= 2
    assert AutoModelForCausalLM.from_pretrained(out).num_parameters() == 335_424


def test_the_certainty_reward_takes_three_lines_of_a_trl_script(tmp_path: Path):
    script = ROOT / "examples/certainty_in_your_trl_script.py"
    ours = [line for line in script.read_text(encoding="utf-8").splitlines() if re.search(r"  # [123]$", line)]
    assert len(ours) == 3 and "from inward.train import" in ours[0]

    shorter = "import runpy, pathlib\nprint(runpy.run_path({!r})['main'](pathlib.Path({!r}), steps=2))"
    (tmp_path / "shorter.py").write_text(shorter.format(str(script), str(tmp_path / "out")), encoding="utf-8")
    said = run(tmp_path / "shorter.py")

    rewards = json.loads(said.splitlines()[-1])
    assert len(rewards) == 2
    assert all(5 < reward < 7 for reward in rewards)


def test_the_readmes_python_prints_a_confidence_per_trace():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)

    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()

    assert [line.split()[0] for line in lines] == ["sample"] * 4 + ["branch"] * 10
    assert all(-1 <= float(line.split()[-1]) <= 1 for line in lines)
