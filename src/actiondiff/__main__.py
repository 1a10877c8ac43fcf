"""`python -m actiondiff` and the `actiondiff` command."""

import sys


def main() -> None:
    """Run the command line; exits with code 0, 1, 2 or 3."""
    from actiondiff.cli.main import run

    sys.exit(run())


if __name__ == "__main__":
    main()
