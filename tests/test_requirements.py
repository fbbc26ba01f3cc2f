"""What is installed is what was pinned, file for file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
WRITE = "write it anew, as CONTRIBUTING.md says"


def pins(name: str) -> dict[str, str]:
    """Release of each package that a file of requirements pins, by the one spelling of names."""
    lines = [line for line in (ROOT / name).read_text("utf-8").splitlines() if re.match(r"\w", line)]
    found = [re.fullmatch(r"([\w.-]+)==([\w.]+)(?: ?;.*)?(?: \\)?", line) for line in lines]
    assert all(found), f"{name}: a line that pins no release"
    return {re.sub(r"[-_.]+", "-", match[1]).lower(): match[2] for match in found}


def digests(name: str) -> dict[str, list[str]]:
    """Digests of the files of each package."""
    text = (ROOT / name).read_text("utf-8")
    blocks = re.findall(r"^(?=\w)(?:.*\\\n)*.*\n", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", re.split("==", block)[0]).lower(): DIGEST.findall(block) for block in blocks}


def test_the_file_with_digests_pins_what_the_other_pins():
    assert pins("requirements-hashed.txt") == pins("requirements.txt"), WRITE


@pytest.mark.parametrize("name", ["requirements-hashed.txt", "requirements-cuda.txt"])
def test_every_package_has_digests(name):
    found = digests(name)
    assert found.keys() == pins(name).keys()
    assert [package for package, known in found.items() if not known or len(known) != len(set(known))] == []


def test_what_cuda_needs_is_pinned_once():
    assert not pins("requirements-cuda.txt").keys() & pins("requirements.txt").keys()


def test_torch_may_be_the_build_for_the_cpu_or_that_of_the_index():
    """Three files for the CPU, which the index lacks, and many others."""
    written = re.search(r'^CPU = \{\n    "(torch==.*)": \(\n((?: +"[0-9a-f]{64}",\n){3})', script(), re.MULTILINE)
    assert written[1] == f"torch=={pins('requirements.txt')['torch']}", "a new release of torch wants new digests"
    cpu = {f"sha256:{digest}" for digest in re.findall(r"[0-9a-f]{64}", written[2])}
    known = set(digests("requirements-hashed.txt")["torch"])
    assert cpu < known
    assert len(known - cpu) >= 6  # Linux and macOS, three Pythons


def script() -> str:
    return (ROOT / ".ci" / "hashes.py").read_text("utf-8")


@pytest.mark.parametrize("name", ["Makefile", ".binder/requirements.txt", ".binder/postBuild"])
def test_nothing_is_installed_from_a_list_without_digests(name):
    text = (ROOT / name).read_text("utf-8")
    assert not re.search(r"-r (?:\.\./)?requirements\.txt", text)
    for line in re.findall(r".*\$\(pip\) install.*|.*pip install.*", text):
        assert (
            "--require-hashes" in line
            or "--no-deps --no-build-isolation" in line
            or "--no-build-isolation --no-deps" in line
        )
