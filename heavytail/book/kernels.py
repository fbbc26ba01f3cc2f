"""Kernels that are forks of a process which has imported what chapters import: each starts at once.

A kernel of its own imports for some five seconds of computing, and the book starts one for every chapter, twice.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from heavytail.book.page import need

# Nothing that imports pyplot, which asks at its import whether a kernel runs: later its figures are not shown.
IMPORTED = [
    "heavytail.evidence.claims",
    "heavytail.lab.simulations",
    "heavytail.lab.trainer",
    "heavytail.sde",
    "ipykernel.kernelapp",
    "sklearn.datasets",
]

QUIET = "--log-level=CRITICAL"  # ipykernel warns of its local sockets at every start


def worth_importing(chapters: int, processes: int) -> list[str]:
    """What to import once for so many chapters: nothing where each process has but one or two."""
    return IMPORTED if chapters > 2 * processes else []


def use(environment: Mapping[str, str], imported: list[str]) -> None:
    """From now on kernels that this process starts are forks, and end with it; on Linux alone.

    They are forked from a process that has imported `imported`. `environment` is added to its own: what a library reads
    when it is imported, such as the number of threads.
    """
    if sys.platform.startswith("linux"):
        _serve(environment, imported)
        _replace_provisioner()


def _serve(environment: Mapping[str, str], imported: list[str]) -> None:
    """Start the process that is forked, unless it runs."""
    multiprocessing.set_forkserver_preload(imported)
    before = dict(os.environ)
    os.environ.update(environment)
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # as a kernel has it
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is for those that use the kernels
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, interrupt)
        os.environ.clear()
        os.environ.update(before)


def _replace_provisioner() -> None:
    provisioning = need("jupyter_client.provisioning")

    class Fork(provisioning.LocalProvisioner):  # type: ignore[name-defined]
        async def launch_kernel(self, cmd: list[str], **options: Any) -> Any:
            self.process = _Started(cmd, options["env"], Path(options.get("cwd") or os.getcwd()))
            self.pid = self.pgid = self.process.pid
            return self.connection_info

    class Factory(provisioning.KernelProvisionerFactory):  # type: ignore[name-defined]
        def create_provisioner_instance(self, kernel_id: str, kernel_spec: Any, parent: Any) -> Any:
            return Fork(kernel_id=kernel_id, kernel_spec=kernel_spec, parent=parent)

    provisioning.KernelProvisionerFactory.clear_instance()
    Factory.instance()  # jupyter_client asks its base class for the instance, and gets this one


class _Started:
    """A kernel's process as jupyter_client knows one, by the methods of subprocess.Popen."""

    stdin = stdout = stderr = None

    def __init__(self, command: Sequence[str], environment: dict[str, str], folder: Path) -> None:
        arguments = command[command.index("ipykernel_launcher") + 1 :]
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(target=_kernel, args=(arguments, environment, folder))
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.pid is not None and self._process.is_alive():
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()


def _kernel(arguments: Sequence[str], environment: dict[str, str], folder: Path) -> None:
    from ipykernel.kernelapp import launch_new_instance

    os.setsid()  # it is interrupted alone, and killed with all that it has started
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where it would say how to connect to it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_follow_parent, daemon=True).start()
    if "numpy" in sys.modules:  # a chapter that forgets to seed must not get the numbers of another one
        sys.modules["numpy"].random.seed()
    launch_new_instance(argv=[*dict.fromkeys([*arguments, QUIET])])


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
