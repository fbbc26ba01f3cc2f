"""The version of the package and the commit that it is of: the one place that knows them."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from functools import cache
from pathlib import Path

__version__ = "0.1.0"

#: Commit of the build: setup.py writes it into a wheel and an sdist. None in a checkout, where git knows it.
COMMIT: str | None = None

#: Environment variable, and file beside the package's folder, that name the commit of a bare tree, which has no git.
NAMED, FILE = "HEAVYTAIL_COMMIT", "COMMIT"

_SHORT = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)  # of files, processes or memory


@cache
def described() -> str:
    """`0.1.0+abc1234` inside a checkout of this project, `-dirty` with uncommitted changes, or where the build knew it.

    A bare tree is of the commit that the variable HEAVYTAIL_COMMIT names, or the file COMMIT beside the package's
    folder. Elsewhere `0.1.0`: the repository of somebody else that the package lies in is not asked. Raises ValueError
    where what should name a commit names none, RuntimeError where git is there and cannot answer: ask before the work.

    >>> described().startswith(__version__)
    True
    """
    commit = commit_of(Path(__file__)) or COMMIT or _named(Path(__file__).resolve().parents[1])
    return f"{__version__}+{commit}" if commit else __version__


def _named(top: Path) -> str | None:
    """The commit that a person has named for a bare tree, as `described` tells one."""
    name, where = os.environ.get(NAMED, "").strip(), NAMED
    if not name and (top / "pyproject.toml").is_file() and (top / FILE).is_file():
        name, where = (top / FILE).read_text("utf-8").strip(), FILE
    if name and not re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?", name):
        raise ValueError(f"{where} must name a commit by 7 to 40 hexadecimal digits, not {name[:60]!r}")
    return f"{name[:7]}{'-dirty' * name.endswith('-dirty')}" if name else None


def commit_of(file: Path, *, whole: bool = False) -> str | None:
    """The commit of the checkout whose `heavytail/version.py` this file is; None if it is that of none.

    As `described` tells it, or `whole`: all its digits, without a word on changes. setup.py asks too. RuntimeError
    where git could not be run to its end, for want of files, processes, memory or time: another time it knows.

    >>> commit_of(Path("somebody/else/heavytail/version.py")) is None
    True
    """
    folder = file.resolve().parent
    try:
        top = Path(_git(folder, "rev-parse", "--show-toplevel"))
        ours = (top / "heavytail" / file.name).samefile(file) and 'name = "heavytail"' in (
            top / "pyproject.toml"
        ).read_text("utf-8")
        words = ("rev-parse", "HEAD") if whole else ("describe", "--always", "--dirty", "--exclude=*")
        return _git(folder, *words) if ours else None
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        if (folder.parent / ".git").exists() and (reason := _passing(error)):
            raise RuntimeError(
                f"git could not be asked for the commit of {folder.parent} ({reason}): run the same again where it can"
            ) from error
        return None


def _passing(error: Exception) -> str:
    """Why git could not answer, if another time it might; else empty."""
    if isinstance(error, OSError) and error.errno in _SHORT:
        return str(error.strerror)
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer in {error.timeout:g} s"
    if isinstance(error, subprocess.CalledProcessError) and error.returncode < 0:
        return f"ended by signal {-error.returncode}"
    return ""


def _git(folder: Path, *command: str) -> str:
    # A hook of another repository tells git by these to look there, wherever it is called.
    elsewhere = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")
    environment = {name: value for name, value in os.environ.items() if name not in elsewhere}
    done = subprocess.run(
        ["git", *command], cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()
