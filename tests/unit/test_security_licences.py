"""The licences of everything that `pip install inward`, with its extras, brings along."""

import re
from functools import cache
from importlib.metadata import PackageMetadata, PackageNotFoundError, distribution
from importlib.util import find_spec

import pytest
from packaging.requirements import Requirement

ALLOWED = re.compile(r"Apache|\bMIT\b|BSD|\bISC|PSF-2\.0|Python Software Foundation|MPL-2\.0|Unlicense")
REFUSED = re.compile(r"GPL|Affero|GNU|Proprietary|[Cc]ommercial|CC-BY-N")
FREE_OF_IT = ("nvidia-", "triton", "cuda-")
"""What torch brings along for CUDA: NVIDIA's libraries have licences of their own, which torch's users accept."""


@cache
def installed() -> dict[str, PackageMetadata]:
    """The package and all that it requires with the extras a user may ask for, as far as it is installed here."""
    known: dict[str, PackageMetadata] = {}
    waiting, asked = [Requirement("inward[ray,qlora]")], set[tuple[str, ...]]()
    while waiting:
        one = waiting.pop()
        key = re.sub(r"[-_.]+", "-", one.name.lower())
        if key.startswith(FREE_OF_IT) or (key, *sorted(one.extras)) in asked:
            continue
        asked.add((key, *sorted(one.extras)))
        try:
            found = distribution(one.name)
        except PackageNotFoundError:
            continue  # required on another platform, or of an extra that is not installed
        known[key] = found.metadata
        for requirement in map(Requirement, found.requires or []):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *one.extras)):
                waiting.append(requirement)
    return known


def licence(about: PackageMetadata) -> str:
    """What a package says of its licence: the expression, the field or its classifiers."""
    classifiers = [one for one in about.get_all("Classifier") or [] if one.startswith("License ::")]
    said = about.get("License-Expression") or (about.get("License") or "").partition("\n")[0]
    return "; ".join(filter(None, [said, *classifiers]))


def test_every_package_that_is_required_is_looked_at():
    assert {"inward", "torch", "transformers", "trl", "pyarrow", "math-verify", "sympy", "pyyaml"} <= installed().keys()


def test_extras_are_looked_at_where_they_are_installed():
    extras = {name for name in ("ray", "bitsandbytes") if find_spec(name)}
    assert extras <= installed().keys()
    assert "ray" not in extras or "pandas" in installed()  # of its own extra `data`


@pytest.mark.parametrize("name", sorted(installed()))
def test_the_licence_of_a_dependency_is_permissive(name: str):
    said = licence(installed()[name])
    assert ALLOWED.search(said), f"{name}: {said or 'no licence'}"
    assert not REFUSED.search(said), f"{name}: {said}"


@pytest.mark.parametrize(
    ("said", "fine"),
    [("MIT", True), ("GPL-3.0-only", False), ("LGPL-2.1 OR MIT", False), ("Other/Proprietary License", False)],
)
def test_what_is_allowed_and_what_is_not(said: str, fine: bool):
    assert bool(ALLOWED.search(said) and not REFUSED.search(said)) is fine
