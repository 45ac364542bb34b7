"""Rebuild the embedded models: `python scripts/make_embedded.py [--out DIR] [--only NAME] [--seed 0]`."""

import argparse
from pathlib import Path

from inward import organism
from inward.organism.build import make


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description="Rebuild the embedded models.")
    shipped = Path(organism.__file__).parent / "weights"
    parser.add_argument("--out", type=Path, default=shipped, help="folder to write to (default: the package)")
    parser.add_argument("--only", choices=organism.NAMES, help="build this one alone, from the base in --out")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    make(options.out, only=options.only, seed=options.seed)


if __name__ == "__main__":
    main()
