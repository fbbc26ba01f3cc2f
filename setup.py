"""What pyproject.toml cannot say: a build carries its commit, and its readme a picture that a package index shows."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
VERSION = Path("heavytail", "version.py")
README = Path("README.md")
UNKNOWN = "COMMIT: str | None = None\n"  # the line of version.py that a build fills
PICTURE = re.compile(r"<!-- picture -->\n(.*?)<!-- end of picture -->\n+", re.DOTALL)
commit_of = runpy.run_path(str(ROOT / VERSION))["commit_of"]  # by its file: no package is installed yet


def version() -> str:
    """version.py with the commit in it; as it is where an sdist has filled it already, or where git knows nothing."""
    text = (ROOT / VERSION).read_text(encoding="utf-8")
    if UNKNOWN not in text:
        return text
    commit = commit_of(ROOT / VERSION)
    return text.replace(UNKNOWN, f'COMMIT: str | None = "{commit}"\n') if commit else text


def readme() -> str:
    """README.md for a package index, which shows no picture that lies beside it.

    HEAVYTAIL_REPOSITORY names the web address of the project; without it the picture and its caption are left out.
    """
    text = (ROOT / README).read_text(encoding="utf-8")
    address = os.environ.get("HEAVYTAIL_REPOSITORY", "").removesuffix("/").removesuffix(".git")
    if not address:
        return PICTURE.sub("", text)
    raw = f"{address}/raw/{commit_of(ROOT / VERSION, whole=True) or 'HEAD'}"
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
