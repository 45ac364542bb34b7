"""The licences of everything that `pip install inward` brings along."""

import re
from importlib.metadata import PackageMetadata, PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement

ALLOWED = re.compile(r"Apache|\bMIT\b|BSD|\bISC|PSF-2\.0|Python Software Foundation|MPL-2\.0|Unlicense")
REFUSED = re.compile(r"GPL|Affero|GNU|Proprietary|[Cc]ommercial|CC-BY-N")
FREE_OF_IT = ("nvidia-", "triton", "cuda-")
"""What torch brings along for CUDA: NVIDIA's libraries have licences of their own, which torch's users accept."""


def installed(name: str = "inward", known: dict[str, PackageMetadata] | None = None) -> dict[str, PackageMetadata]:
    """The package and all that it requires without extras, as far as it is installed here."""
    known = {} if known is None else known
    key = re.sub(r"[-_.]+", "-", name.lower())
    if key in known or key.startswith(FREE_OF_IT):
        return known
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return known  # required on another platform
    known[key] = found.metadata
    for line in found.requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            installed(requirement.name, known)
    return known


def licence(about: PackageMetadata) -> str:
    """What a package says of its licence: the expression, the field or its classifiers."""
    classifiers = [one for one in about.get_all("Classifier") or [] if one.startswith("License ::")]
    said = about.get("License-Expression") or (about.get("License") or "").partition("\n")[0]
    return "; ".join(filter(None, [said, *classifiers]))


def test_every_package_that_is_required_is_looked_at():
    assert {"inward", "torch", "transformers", "trl", "pyarrow", "math-verify", "sympy", "pyyaml"} <= installed().keys()


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
