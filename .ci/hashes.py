"""Write requirements-hashed.txt anew from requirements.txt, as CONTRIBUTING.md says.

Needs `uv`, which asks the package index for the digests of every file of every release that is pinned, whatever system
and Python it is for. torch is left out: an index may have its build for the CPU or that for CUDA under one version, and
`make` takes the one that it is given.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = "# Written by .ci/hashes.py from requirements.txt: change that, and write this anew. All but torch.\n"


def main() -> None:
    """Write the file."""
    options = ["--universal", "--python-version=3.11", "--no-deps", "--generate-hashes", "--no-header", "--no-annotate"]
    command = ["uv", "pip", "compile", "--quiet", "--no-config", *options, str(ROOT / "requirements.txt")]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    blocks = re.findall(r"^\w(?:.*\\\n)*.*\n", text, re.MULTILINE)  # a pin and its digests
    written = [block for block in blocks if not block.startswith("torch==")]
    (ROOT / "requirements-hashed.txt").write_text(HEAD + "".join(written), encoding="utf-8")
    print(f"requirements-hashed.txt: {len(written)} packages")


if __name__ == "__main__":
    main()
