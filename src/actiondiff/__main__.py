"""`python -m actiondiff` and the `actiondiff` command."""

import os
import sys


def main() -> None:
    """Run the command line; exits with code 0, 1, 2 or 3."""
    # Threads that wait for work must not keep a core busy; torch's library reads this when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from actiondiff.cli.main import run

    sys.exit(run())


if __name__ == "__main__":
    main()
