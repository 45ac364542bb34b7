"""The page in a real browser: nothing in it runs, nothing is logged, it fits a phone and follows dark mode."""

import html
import re
import struct
import subprocess
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import synthetic
import synthetic_online
from browser import CHROMIUM, OPTIONS
from pages import without_explorer

from inward.report import build, build_seeds

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH (Debian: apt-get install chromium)")

ATTACKS = (
    "<script>document.title='owned'</script>"
    "<img src=x onerror=\"document.title='owned'\">"
    "</p></i></title></style><svg onload=\"document.title='owned'\">"
    "\" onmouseover=\"document.title='owned'\" autofocus onfocus=\"document.title='owned'\" x='"
)
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


def chromium(profile: Path, page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    command = [CHROMIUM, *OPTIONS, "--enable-logging=stderr", f"--user-data-dir={profile}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def dom(profile: Path, page: Path, *options: str) -> str:
    return chromium(profile, page, "--virtual-time-budget=2000", "--dump-dom", *options).stdout


def in_frames(frames: Sequence[tuple[Path, int]], outer: Path) -> Path:
    """A page that shows others unfolded, each so many pixels wide, and takes the widths of their contents as title.

    Chromium's window is never narrower than 500 pixels; a frame can be.
    """
    shown: list[str] = []
    for number, (page, width) in enumerate(frames):
        report = (
            "<script>addEventListener('load', () => "
            f"parent.postMessage([{number}, document.documentElement.scrollWidth], '*'))</script>"
        )
        inner = POLICY.sub("", page.read_text("utf-8")).replace("</body>", f"{report}</body>")
        inner = re.sub(r"<details( class=\"\w+\")( open)?>", r"<details\1 open>", inner)
        shown.append(f'<iframe style="border:0;width:{width}px;height:800px" srcdoc="{html.escape(inner)}"></iframe>')
    gather = "const found = []; addEventListener('message', ({data: [number, width]}) => {found[number] = width; "
    outer.write_text(
        f"<!doctype html><script>{gather}document.title = 'widths ' + found.join(' ')}})</script>{''.join(shown)}",
        encoding="utf-8",
    )
    return outer


def widths(profile: Path, frames: Path) -> list[int]:
    [found] = re.findall(r"<title>widths ([\d ]+)</title>", dom(profile, frames))
    return [int(width) for width in found.split()]


def corner(png: Path) -> tuple[int, int, int]:
    """The colour of the first pixel, whose row filters leave it as it is."""
    data = png.read_bytes()
    position, packed = 8, b""
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        if kind == b"IDAT":
            packed += data[position + 8 : position + 8 + length]
        position += length + 12
    red, green, blue = zlib.decompress(packed)[1:4]
    return red, green, blue


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return tmp_path / "profile"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    yield build(synthetic.write(folder, synthetic.run(problems=40, prompts=12)))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "run"
    return build(synthetic.write(folder, synthetic.hostile(ATTACKS), task=ATTACKS, checkpoint=ATTACKS))


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(synthetic_online.write(tmp_path_factory.mktemp("training") / "run"))


@pytest.fixture(scope="module")
def hostile_training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(synthetic_online.write(tmp_path_factory.mktemp("hostile_training") / "run", text=ATTACKS))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six groups, one of them named by an attack."""
    folder = tmp_path_factory.mktemp("seeds")
    starts = [
        "embedded:base",
        "embedded:base",
        "embedded:instruct",
        "a/rather-long-name-of-a-model-7B",
        "b",
        "c",
        ATTACKS,
    ]
    runs = [
        synthetic_online.write(folder / str(n), run=synthetic_online.manifest(n, start=start), judged=False)
        for n, start in enumerate(starts)
    ]
    return build_seeds(runs, folder / "seeds.html")


def messages(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if "CONSOLE" in line]


def test_the_page_opens_without_a_message_on_the_console(page: Path, profile: Path):
    result = chromium(profile, page, "--virtual-time-budget=2000", "--dump-dom")
    assert "Greedy accuracy rose" in result.stdout
    assert messages(result.stderr) == []


def test_the_console_is_being_listened_to(tmp_path: Path, profile: Path):
    loud = tmp_path / "loud.html"
    loud.write_text("<script>console.error('heard')</script>")
    assert "heard" in messages(chromium(profile, loud, "--virtual-time-budget=2000", "--dump-dom").stderr)[0]


@pytest.mark.parametrize(("which", "figures"), [("training", 12), ("seeds", 7 + 11)])
def test_the_pages_of_a_training_and_of_several_runs_open_with_their_figures(
    which: str, figures: int, profile: Path, request: pytest.FixtureRequest
):
    result = chromium(profile, request.getfixturevalue(which), "--virtual-time-budget=2000", "--dump-dom")
    assert messages(result.stderr) == []
    along = result.stdout.partition('<section id="along">')[2].partition("</section>")[0]
    assert along.count("<figure><figcaption>") == figures
    assert along.count("<svg viewBox") - along.count('<svg viewBox="0 0 24 12"') == figures
    assert along.count("<polyline") >= figures


@pytest.mark.parametrize("which", ["hostile", "hostile_training", "seeds"])
@pytest.mark.parametrize("with_policy", [True, False])
def test_text_from_data_does_not_run(
    which: str, profile: Path, tmp_path: Path, with_policy: bool, request: pytest.FixtureRequest
):
    """Escaping must do alone; the content policy is a second wall."""
    text = request.getfixturevalue(which).read_text("utf-8")
    copy = tmp_path / "copy.html"
    copy.write_text(text if with_policy else POLICY.sub("", text), encoding="utf-8")
    shown = dom(profile, copy)
    titles = re.findall(r"<title>(.*?)</title>", shown, flags=re.S)
    assert "Greedy accuracy" in titles[0]
    rest = without_explorer(shown)
    assert not re.search(r"<(script|img)", rest)
    assert not re.search(r"<[^>]*\son\w+=", re.sub(r'="[^"]*"', "=", rest))


def test_the_attacks_would_run_unescaped(profile: Path, tmp_path: Path):
    bare = tmp_path / "bare.html"
    bare.write_text(f"<title>safe</title>{ATTACKS}")
    assert "<title>owned</title>" in dom(profile, bare)


def test_the_policy_alone_stops_scripts(page: Path, profile: Path, tmp_path: Path):
    injected = tmp_path / "injected.html"
    injected.write_text(page.read_text("utf-8").replace("</body>", f"{ATTACKS}</body>"), encoding="utf-8")
    assert "<title>owned</title>" not in dom(profile, injected)


def test_nothing_sticks_out_sideways(profile: Path, tmp_path: Path, request: pytest.FixtureRequest):
    asked = [(which, width) for which in ("page", "hostile") for width in (375, 768)]
    asked += [(which, width) for which in ("training", "hostile_training", "seeds") for width in (375, 1280)]
    frames = [(request.getfixturevalue(which), width) for which, width in asked]
    found = widths(profile, in_frames(frames, tmp_path / "frames.html"))
    assert list(zip(asked, found, strict=True)) == [(one, one[1]) for one in asked]


def test_sticking_out_would_be_seen(tmp_path: Path, profile: Path):
    wide = tmp_path / "wide.html"
    wide.write_text('<!doctype html><body><div style="width:900px">wide</div></body>')
    [found] = widths(profile, in_frames([(wide, 375)], tmp_path / "frames.html"))
    assert found > 900


@pytest.mark.parametrize(("scheme", "paper"), [("1", (253, 253, 252)), ("0", (20, 23, 27))])
def test_the_page_follows_dark_mode(
    page: Path, profile: Path, tmp_path: Path, scheme: str, paper: tuple[int, int, int]
):
    picture = tmp_path / "page.png"
    chromium(profile, page, f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={picture}")
    assert corner(picture) == paper
