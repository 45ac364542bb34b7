"""`python -m inward`: the command line for what starts modules, such as `torchrun -m` and `accelerate launch -m`."""

from inward.cli import main

if __name__ == "__main__":
    main()
