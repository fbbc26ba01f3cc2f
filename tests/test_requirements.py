"""What is installed is what was pinned, file for file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def pins(name: str) -> dict[str, tuple[str, list[str]]]:
    """Release and digests of each package that a file of requirements pins, by the one spelling of names."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text("utf-8"), flags=re.MULTILINE)
    blocks = re.findall(r"^\w(?:.*\\\n)*.*\n", text, re.MULTILINE)
    parts = [re.match(r"([\w.-]+)==([\w.]+)", block) for block in blocks]
    assert all(parts), f"{name}: a line that pins no release"
    return {
        re.sub(r"[-_.]+", "-", match[1]).lower(): (match[2], DIGEST.findall(block))
        for match, block in zip(parts, blocks, strict=True)
    }


def releases(name: str) -> dict[str, str]:
    return {package: release for package, (release, _) in pins(name).items()}


def test_the_file_with_digests_pins_what_the_other_pins_but_torch():
    wanted = releases("requirements.txt")
    del wanted["torch"]
    assert releases("requirements-hashed.txt") == wanted, "write it anew, as CONTRIBUTING.md says"


def test_every_package_has_digests_and_none_twice():
    known = {package: digests for package, (_, digests) in pins("requirements-hashed.txt").items()}
    assert [package for package, digests in known.items() if not digests or len(digests) != len(set(digests))] == []


@pytest.mark.parametrize("name", ["Makefile", ".binder/postBuild"])
def test_nothing_but_torch_and_this_package_is_installed_without_digests(name):
    text = (ROOT / name).read_text("utf-8")
    lines = [line for line in text.splitlines() if re.search(r"(\$\(pip\)|pip install) ", line)]
    assert len(lines) == 3
    for line in lines:
        with_digests = "--require-hashes -r requirements-hashed.txt" in line
        torch_alone = line.rstrip().endswith("grep '^torch==' requirements.txt)\"")
        this_package = line.endswith("-e .") and "--no-deps" in line and "--no-build-isolation" in line
        assert with_digests or torch_alone or this_package, line
