"""The processes that compare expressions: killed, replaced, shared by threads, forgotten by forks, gone at the end."""

import ast
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inward.equivalence import pool

ENDLESS = "\\sum_{k=1}^{9999} \\sin(k^{k^{k}})"


@pytest.fixture
def own() -> Iterator[pool.Pool]:
    made = pool.Pool(size=2)
    yield made
    made.close()


def pids(used: pool.Pool) -> set[int]:
    return {worker.process.pid for worker in used.workers}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def script(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120, check=False
    )


def test_none_is_started_before_it_is_needed_and_one_serves_one_after_the_other(own: pool.Pool):
    assert not own.workers
    assert own.same("x+1", "1+x", 60.0) is True
    first = pids(own)
    assert own.same("x+1", "x", 60.0) is False
    assert pids(own) == first and len(first) == 1


def test_one_that_takes_too_long_is_killed_and_replaced(own: pool.Pool):
    assert own.same("x+1", "1+x", 60.0) is True
    (first,) = pids(own)
    began = time.monotonic()
    assert own.same(f"x = {ENDLESS}", "5x+y=3", 0.0) is None
    assert time.monotonic() - began < 5
    assert not alive(first)
    assert own.same("x+1", "1+x", 60.0) is True
    assert first not in pids(own)


def test_one_that_was_killed_by_others_costs_no_verdict(own: pool.Pool):
    assert own.same("x+1", "1+x", 60.0) is True
    (first,) = pids(own)
    os.kill(first, signal.SIGKILL)
    assert own.same("x+1", "1+x", 60.0) is True
    assert first not in pids(own)


def test_one_that_crashes_every_time_leaves_it_undecided(own: pool.Pool, monkeypatch: pytest.MonkeyPatch):
    def crash(self: pool.Worker, request: object, seconds: float):
        raise pool.WorkerEndedError

    monkeypatch.setattr(pool.Worker, "ask", crash)
    assert own.same("x+1", "1+x", 60.0) is None
    assert not own.workers


def test_ctrl_c_while_waiting_drops_the_one_whose_reply_is_to_come(own: pool.Pool, monkeypatch: pytest.MonkeyPatch):
    def interrupted(self: pool.Worker, request: object, seconds: float):
        raise KeyboardInterrupt

    monkeypatch.setattr(pool.Worker, "ask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        own.same("x+1", "1+x", 60.0)
    assert not own.workers


def test_many_threads_share_few(own: pool.Pool):
    with ThreadPoolExecutor(8) as threads:
        verdicts = list(threads.map(lambda i: own.same(f"x+{i}", f"{i % 4}+x", 60.0), range(24)))
    assert verdicts == [i < 4 for i in range(24)]
    assert 1 <= len(own.workers) <= 2


def test_memory_is_bounded(own: pool.Pool):
    assert own.same("x+1", "1+x", 60.0) is True
    (pid,) = pids(own)
    limit = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "address space" in line)
    assert limit.split()[3] == limit.split()[4] == str(1 << 30)


def test_one_whose_starter_is_gone_ends_itself(own: pool.Pool):
    assert own.same("x+1", "1+x", 60.0) is True
    (worker,) = own.workers
    assert worker.process.stdin is not None
    worker.process.stdin.close()
    assert worker.process.wait(timeout=30) == 0


def test_one_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    program = tmp_path / "broken.py"
    program.write_text("raise SystemExit(3)")
    monkeypatch.setattr(pool, "_PROGRAM", program)
    with pytest.raises(RuntimeError, match="did not start"):
        pool.start()


def test_none_is_left_at_the_end_of_the_program():
    done = script("""
        from inward.equivalence import pool, same
        assert same("(x+1)^2", "x^2+2x+1", "latex")
        print([worker.process.pid for worker in pool._pool.workers])
    """)
    assert done.returncode == 0 and not done.stderr
    (pid,) = ast.literal_eval(done.stdout)
    assert not alive(pid)


def test_a_fork_has_its_own_and_leaves_those_of_its_parent_alone():
    done = script("""
        import os, sys
        from inward.equivalence import pool, same
        assert same("(x+1)^2", "x^2+2x+1", "latex")
        before = {worker.process.pid for worker in pool._pool.workers}
        if (child := os.fork()) == 0:
            assert not pool._pool.workers
            assert same("(x+2)^2", "x^2+4x+4", "latex")
            assert not before & {worker.process.pid for worker in pool._pool.workers}
            sys.exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert same("(x+3)^2", "x^2+6x+9", "latex")
        assert {worker.process.pid for worker in pool._pool.workers} == before
    """)
    assert done.returncode == 0, done.stderr


def test_ctrl_c_ends_a_program_that_waits_for_a_verdict_and_leaves_nothing():
    code = """
        import os, signal
        from inward.equivalence import pool, same
        same("(x+1)^2", "x^2+2x+1", "latex")
        (worker,) = pool._pool.workers
        os.kill(worker.process.pid, signal.SIGSTOP)
        print(worker.process.pid, flush=True)
        same("(x+2)^2", "x^2+4x+4", "latex")
    """
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert program.stdout is not None and program.stderr is not None
    pid = int(program.stdout.readline())
    time.sleep(0.5)
    os.killpg(program.pid, signal.SIGINT)
    _, errors = program.communicate(timeout=30)
    assert program.returncode and "KeyboardInterrupt" in errors
    assert not alive(pid)


def test_it_works_off_the_main_thread_with_signals_blocked():
    seen: list[bool | None] = []

    def work():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        own = pool.Pool(size=1)
        seen.append(own.same("x+1", "1+x", 60.0))
        own.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]


def test_nothing_heavy_is_imported_for_the_exact_rules():
    done = script("""
        import sys
        from inward.equivalence import same
        assert same("1,000", "1e3", "latex") and same("(1, 2)", "(1.0, 2)", "latex") and not same("7", "8", "number")
        assert not {"sympy", "math_verify", "torch", "numpy"} & {*sys.modules}
    """)
    assert done.returncode == 0, done.stderr
