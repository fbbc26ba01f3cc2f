"""The processes of a session: how one is started and ended, and what each does, as `python -m` of this module."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heavytail import stopping, version
from heavytail.lab.machine import files

PARENT = "HEAVYTAIL_PARENT"  # the process id of the session, for its parts


@dataclass(frozen=True)
class Session:
    """What a call was given. `root` holds tests and grids; `end` is the time at which work ends, as time.time()."""

    root: Path
    out: Path
    store: Path
    profile: str
    only: tuple[str, ...]
    device: str
    code: str
    end: float


def call(
    session: Session,
    command: list[str],
    log: str,
    until: float,
    env: Mapping[str, str] | None = None,
    *,
    meanwhile: Callable[[], object] | None = None,
    every: float = 60.0,
) -> int | None:
    """Run a Python command until it ends, or a time is there; its exit status, or None where it was ended.

    What it says is added to the session's `logs/LOG.txt`. `meanwhile` is called every so many seconds.
    """
    if time.time() >= until:
        return None
    path = session.store / "logs" / f"{log}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as said:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=session.root,
            env={**os.environ, **_environment(session), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            process_group=0 if hasattr(os, "killpg") else None,
        )
        last = time.time()
        try:
            while process.poll() is None and time.time() < until:
                time.sleep(0.05)
                if meanwhile is not None and time.time() - last > every:
                    meanwhile()
                    last = time.time()
            return process.poll()
        finally:
            if process.poll() is None:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started, at once: the store is made for it, what is there is whole."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _environment(session: Session) -> dict[str, str]:
    package = Path(version.__file__).resolve().parents[1]
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [str(package), str(session.root / "tests"), *filter(None, before)]
    # The tests alone rehearse the kernels, and only where there is no GPU to run them.
    return {"PYTHONPATH": os.pathsep.join(paths), PARENT: str(os.getpid()), "TRITON_INTERPRET": "0"}


def part(session: Session, name: str, until: float, log: str, **options: Any) -> int | None:
    """Run a part of this module in a process of its own; see `call`."""
    meanwhile = options.pop("meanwhile", None)
    given = json.dumps({"device": session.device, "until": until, **options})
    return call(session, ["-m", __name__, name, given], log, until, meanwhile=meanwhile)


def machine(session: Session) -> dict[str, Any]:
    """What the session runs on, asked in a process of its own. Raises ValueError if the device does not answer."""
    path = session.store / "machine.json"
    path.unlink(missing_ok=True)
    status = part(session, "machine", min(session.end, time.time() + 120), "machine", path=str(path))
    if status != 0 or not path.exists():
        why = last_line(session, "machine") or "not in its time"
        raise ValueError(f"device {session.device!r} does not answer: {why}")
    return json.loads(path.read_text("utf-8"))


def last_line(session: Session, log: str) -> str:
    """The last line that a part has said, if any."""
    path = session.store / "logs" / f"{log}.txt"
    said = path.read_text("utf-8", "replace").split("\n") if path.exists() else []
    return next((line.strip() for line in reversed(said) if line.strip()), "")


def lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines; one that was cut off in the middle is left out."""
    found = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


def add_line(path: Path, record: dict[str, Any]) -> None:
    """Add a record to a file of JSON lines; the line before it may be cut off."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"\n{json.dumps(record)}\n")


def put(path: Path, content: object) -> None:
    """Write JSON, atomically."""
    text = json.dumps(content, indent=1)
    files.write_atomically(path, lambda place: place.write_text(text, encoding="utf-8"))


def _machine(device: str, path: str, until: float) -> None:
    import torch

    from heavytail import streams
    from heavytail.lab import bench
    from heavytail.lab.machine import devices

    place = streams.present(device)
    memory = devices.total(place)
    put(Path(path), bench.machine(device) | {"memory": memory, "cuda": torch.version.cuda})


def _figures(device: str, path: str, case: str, until: float) -> None:
    from heavytail.lab.session import figures

    figures.measure(case, device, Path(path))


def _tables(device: str, until: float, store: str, grids: str, profile: str, only: list[str]) -> None:
    from heavytail.lab.session import tables

    tables.fill(tables.plan(Path(grids), profile, tuple(only)), Path(store), device, until)


def main(name: str, given: str) -> None:
    """Be a part of a session, and end with it."""
    if parent := os.environ.get(PARENT):
        stopping.follow(int(parent))
    works: dict[str, Callable[..., None]] = {"machine": _machine, "figures": _figures, "tables": _tables}
    works[name](**json.loads(given))


if __name__ == "__main__":
    main(*sys.argv[1:])
