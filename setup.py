"""What pyproject.toml cannot say: a build carries its commit, and its readme a picture that a package index shows."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
VERSION = Path("heavytail", "version.py")
README = Path("README.md")
UNKNOWN = "COMMIT: str | None = None\n"  # the line of version.py that a build fills
PICTURE = re.compile(r"<!-- picture -->\n(.*?)<!-- end of picture -->\n+", re.DOTALL)


def git(*arguments: str) -> str | None:
    """What git says of this folder; None unless it is the top of a repository, so never of one that it only lies in."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # a hook's, of another
    try:
        top, answer = (
            subprocess.run(
                ["git", *words], cwd=ROOT, env=known, capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
            for words in (["rev-parse", "--show-toplevel"], arguments)
        )
        return answer if os.path.samefile(top, ROOT) else None
    except (OSError, subprocess.SubprocessError):
        return None


def version() -> str:
    """version.py with the commit in it; as it is where an sdist has filled it already, or where git knows nothing."""
    text = (ROOT / VERSION).read_text(encoding="utf-8")
    if UNKNOWN not in text:
        return text
    commit = git("describe", "--always", "--dirty", "--exclude=*")
    return text.replace(UNKNOWN, f'COMMIT: str | None = "{commit}"\n') if commit else text


def readme() -> str:
    """README.md for a package index, which shows no picture that lies beside it.

    HEAVYTAIL_REPOSITORY names the web address of the project; without it the picture and its caption are left out.
    """
    text = (ROOT / README).read_text(encoding="utf-8")
    address = os.environ.get("HEAVYTAIL_REPOSITORY", "").removesuffix("/").removesuffix(".git")
    if not address:
        return PICTURE.sub("", text)
    raw = f"{address}/raw/{git('rev-parse', 'HEAD') or 'HEAD'}"
    return PICTURE.sub(lambda block: re.sub(r"\]\((?=book/)", f"]({raw}/", block[1]) + "\n", text)


class BuildWithCommit(build_py):
    """Copies the modules, and writes the commit into the copy. An editable install has no copy, and asks git."""

    def run(self) -> None:
        """What setuptools calls."""
        super().run()
        if not self.editable_mode:
            (Path(self.build_lib) / VERSION).write_text(version(), encoding="utf-8")


class SdistWithCommit(sdist):
    """An sdist knows its commit and shows its picture, so that a wheel made from it does."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """What setuptools calls; a file of the tree may be a hard link to the source, so it is removed first."""
        super().make_release_tree(base_dir, files)
        for name, text in ((VERSION, version()), (README, readme())):
            (Path(base_dir) / name).unlink()
            (Path(base_dir) / name).write_text(text, encoding="utf-8")


setup(
    cmdclass={"build_py": BuildWithCommit, "sdist": SdistWithCommit},
    long_description=readme(),
    long_description_content_type="text/markdown; charset=UTF-8; variant=GFM",
)
