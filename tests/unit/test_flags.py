"""Options that stand for a setting: what they override, and by what name an error calls them."""

import pytest

from inward.cli import flags
from inward.errors import DataError, SettingsError

ASKED = {"optim.steps": ("--steps", 0), "reward": ("--reward", "foo"), "optim.save_every": ("--eval-every", None)}


def said(error: Exception) -> str:
    with pytest.raises(type(error)) as raised, flags.overrides(ASKED):
        raise error
    return str(raised.value)


def test_options_that_were_given_are_overrides():
    with flags.overrides(ASKED) as overrides:
        assert overrides == ["optim.steps=0", "reward=foo"]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("optim.steps must be at least 1, got 0", "--steps (optim.steps) must be at least 1, got 0"),
        ("optim.steps: Input should be a valid integer", "--steps (optim.steps): Input should be a valid integer"),
        ("optim.steps = 9 is too many", "--steps (optim.steps) = 9 is too many"),
        ("reward: Input should be 'random'", "--reward: Input should be 'random'"),
        ("optim.save_every must be at least 1", "optim.save_every must be at least 1"),
        ("optim.steps_of_another must be 1", "optim.steps_of_another must be 1"),
        ("reward foo is unknown", "reward foo is unknown"),
    ],
)
def test_an_error_about_its_setting_names_the_option(message: str, shown: str):
    assert said(SettingsError(message)) == shown


def test_other_errors_stay_as_they_are():
    assert said(DataError("reward: no such column")) == "reward: no such column"
