"""The command `heavytail`, as `python -m heavytail` too: it listens to Ctrl-C before it imports anything large."""

from __future__ import annotations

import sys

from heavytail import stopping


def main() -> int:
    """Run the command of this process; returns its exit status."""
    with stopping.listening():
        try:
            from heavytail.cli import main as run

            return run()
        except KeyboardInterrupt as stop:  # before or after the command itself
            return stopping.say(stop)


if __name__ == "__main__":
    sys.exit(main())
