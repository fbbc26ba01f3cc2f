"""`python -m heavytail`: the command line, where no folder of commands is at hand."""

from __future__ import annotations

import sys

from heavytail.cli import main

if __name__ == "__main__":
    sys.exit(main())
