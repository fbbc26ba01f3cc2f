"""Write requirements-hashed.txt and requirements-cuda.txt anew from requirements.txt, as CONTRIBUTING.md says.

Needs `uv`, which asks the package index for the digests of every file of every release that is pinned, whatever system
and Python it is for. The first file is what `make` installs. The second is what the index's Linux build of torch needs
besides, and no other build does.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = "# Written by .ci/hashes.py from requirements.txt: change that, and write this anew.\n"
# The CPU builds of torch are not on the index: Linux x86-64, for Python 3.11, 3.12 and 3.13. A new release of torch
# wants new ones: `sha256sum torch-*+cpu-*.whl`.
CPU = {
    "torch==2.13.0": (
        "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
        "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",
        "3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6",
    )
}


def compiled(*files: Path, alone: bool) -> dict[str, str]:
    """Blocks of pins with digests, by the name of the package; `alone` leaves out what they need in turn."""
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate"]
    words = ["uv", "pip", "compile", "--quiet", "--no-config", *options, *(["--no-deps"] if alone else [])]
    text = subprocess.run([*words, *map(str, files)], check=True, stdout=subprocess.PIPE, text=True).stdout
    blocks = re.findall(r"^(?=\w)(?:.*\\\n)*.*\n", text, re.MULTILINE)
    return {re.split(r"[=\[ ]", block)[0]: block for block in blocks}


def main() -> None:
    """Write both files."""
    pins = ROOT / "requirements.txt"
    hashed = compiled(pins, alone=True)
    release = hashed["torch"].split()[0]
    hashed["torch"] = hashed["torch"].rstrip() + "".join(f" \\\n    --hash=sha256:{digest}" for digest in CPU[release])
    hashed["torch"] += "\n"
    with tempfile.TemporaryDirectory() as folder:
        torch = Path(folder, "torch.txt")
        torch.write_text(release + "\n", encoding="utf-8")
        extra = {name: block for name, block in compiled(torch, pins, alone=False).items() if name not in hashed}
    needed = {name: block for name, block in extra.items() if name.startswith(("nvidia", "cuda", "triton"))}
    for name, blocks in {"requirements-hashed.txt": hashed, "requirements-cuda.txt": needed}.items():
        (ROOT / name).write_text(HEAD + "".join(blocks.values()), encoding="utf-8")
        print(f"{name}: {len(blocks)} packages")


if __name__ == "__main__":
    main()
