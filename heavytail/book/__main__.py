"""`python -m heavytail.book run | check | build | notebooks | browser`: the book's commands, which make uses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from heavytail import stopping

LEFT = "stopped; chapters that were done are kept"


def command() -> int:
    """Run the command of this process, which listens to Ctrl-C before it imports anything large; its exit status."""
    with stopping.listening():
        try:
            with stopping.saying(LEFT):
                return main()
        except KeyboardInterrupt as stop:
            return stopping.say(stop)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what goes wrong is one sentence on standard error.

    `browser` prints the program of the Chromium that prints and tests pages. Exit status 1 where there is none, or
    where a chapter or a page is not as it should be; 2 where the command could not do its work, as beside another
    build.
    """
    if list(sys.argv[1:] if arguments is None else arguments) == ["browser"]:  # answered before all that is imported
        return _browser()
    from heavytail.book.build import build, check, notebooks
    from heavytail.book.page import ChapterFailed
    from heavytail.book.run import run_all
    from heavytail.evidence.claims import PROFILES

    parser = argparse.ArgumentParser(prog="python -m heavytail.book", description=__doc__)
    parser.add_argument("command", choices=["run", "check", "build", "notebooks", "browser"])
    parser.add_argument("--again", action="store_true", help="compare once more what differs, and call it flaky")
    parser.add_argument("--all", action="store_true", help="compare those too that only show what is committed")
    parser.add_argument("--profile", default="quick", help=f"one of {', '.join(PROFILES)}")
    parser.add_argument("--pdf", action="store_true", help="also print the book in one file, where there is a Chromium")
    options = parser.parse_args(arguments)
    try:
        if options.command == "run":
            run_all(options.profile)
        elif options.command == "check":
            check(options.profile, again=options.again, every=options.all)
        elif options.command == "build":
            print(f"open {build(options.profile, as_pdf=options.pdf)}")
        else:
            print(f"{len(notebooks())} notebooks in _build/notebooks")
    except ChapterFailed as failure:
        print(f"heavytail: {failure}", file=sys.stderr)
        return 1
    except (ValueError, OSError, RuntimeError) as error:
        print(f"heavytail: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if stopping.asked():
            raise
        print(f"heavytail: {LEFT}", file=sys.stderr)
        return 130
    return 0


def _browser() -> int:
    from heavytail.book import pdf

    program = pdf.browser()
    if program is not None:
        print(program)
    return int(program is None)


if __name__ == "__main__":
    sys.exit(command())
