"""The book as a PDF, printed by Chromium where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

NAME = "heavytail-book.pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 300  # seconds


def browser() -> str | None:
    """The program of Chromium: CHROMIUM names it, or it is where programs are looked for; None if there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def beside(page: Path) -> str:
    """Print a page into the PDF beside it; what came of it in a sentence, since no book fails for want of a PDF."""
    target, start = page.with_name(NAME), time.monotonic()
    if browser() is None:
        return f"no Chromium here, so no {NAME}: install it, or name its program in CHROMIUM"
    done = of(page, target)
    return f"{NAME}: printed in {time.monotonic() - start:.1f} s" if done else f"no {NAME}: Chromium could not print it"


def of(page: Path, target: Path) -> bool:
    """Print a page, once its formulas are set, to `target`; False where there is no Chromium or it could not do it."""
    program = browser()
    if program is None:
        return False
    with tempfile.TemporaryDirectory(prefix="heavytail-") as profile:
        options = [
            "--headless",
            "--no-sandbox",  # which a container or root cannot have; the page is our own and asks for nothing
            "--disable-gpu",
            "--disable-background-networking",
            f"--user-data-dir={profile}",
            "--no-pdf-header-footer",
            "--generate-pdf-document-outline",
            "--virtual-time-budget=600000",  # of the page's own clock: the formulas are set by then
            f"--print-to-pdf={target}",
        ]
        try:
            done = subprocess.run(
                [program, *options, page.resolve().as_uri()], capture_output=True, timeout=PATIENCE, check=False
            )
        except (OSError, subprocess.SubprocessError):
            done = None
    if done is not None and done.returncode == 0 and target.is_file() and target.read_bytes()[:5] == b"%PDF-":
        return True
    target.unlink(missing_ok=True)
    return False
