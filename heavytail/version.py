"""The version of the package and the commit that it is of: the one place that knows them."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

__version__ = "0.1.0"

#: Commit of the build: setup.py writes it into a wheel and an sdist. None in a checkout, where git knows it.
COMMIT: str | None = None


@cache
def commit() -> str | None:
    """The commit of the build, or of the checkout that the package is imported from; None where nobody knows.

    Of a checkout it ends in `-dirty` if files that git knows are changed. Another repository that the package merely
    lies in, such as one around an environment, is not asked.
    """
    if COMMIT is not None:
        return COMMIT
    root = Path(__file__).resolve().parents[1]
    try:
        top, answer = (
            subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True, timeout=10).stdout
            for words in (["rev-parse", "--show-toplevel"], ["describe", "--always", "--dirty", "--exclude=*"])
        )
        return answer.strip() if os.path.samefile(top.strip(), root) else None
    except (OSError, subprocess.SubprocessError):
        return None


def described() -> str:
    """`0.1.0+abc1234`: the version with the commit; the version alone where the commit is not known.

    >>> described().startswith(__version__)
    True
    """
    return f"{__version__}+{commit()}" if commit() else __version__
