"""Worker processes on this machine, which never outlive the process that started them and leave Ctrl-C to it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from numbers import Integral

from tqdm import tqdm

MOST = 1024  # far more than a machine has cores


@contextmanager
def processes(count: int, imported: Sequence[str] = ("heavytail.lab.sweeps",)) -> Iterator[Executor | None]:
    """An executor of `count` processes; None for one, as a sweep then runs here.

    Where workers start from one process, that has `imported` these modules, once for all workers.

    An exception inside the block, Ctrl-C too, ends the workers at once, in the middle of what they do. A process that
    starts its own does so under `if __name__ == "__main__"`. Raises ValueError for a count outside 1 to MOST,
    RuntimeError where no worker starts, as in a script without that line.
    """
    if isinstance(count, bool) or not isinstance(count, Integral) or not 1 <= count <= MOST:
        from heavytail.noise.kinds import shown  # with torch, which whoever starts workers may do without

        raise ValueError(f"workers must be 1 to {MOST}, got {shown(count)}: one a core is enough")
    if count == 1:
        yield None
        return
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # a worker, which runs the script once more
        raise SystemExit(1)  # its parent says why
    others = multiprocessing.active_children()
    try:
        pool = ProcessPoolExecutor(count, mp_context=_context(imported), initializer=_settle)
    except OSError as error:
        raise _no_worker(error) from error
    try:
        try:
            _start(pool)
        except OSError as error:
            raise _no_worker(error) from error
        yield pool
    except BaseException:
        for worker in set(multiprocessing.active_children()) - set(others):
            worker.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _no_worker(error: OSError) -> RuntimeError:
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM):
        what = "ask for fewer workers, or raise what this process may use (ulimit -a tells)"
    else:  # a socket's path may have no more than a hundred letters
        folder = tempfile.gettempdir()
        what = f"they meet in the folder of temporary files {folder}, name a short one that can be written in TMPDIR"
    return RuntimeError(f"no worker process started ({error.strerror or error}): {what}")


def _start(pool: Executor) -> None:
    """Wait for the first worker: one that cannot start is found here, and not in the middle of a sweep."""
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        raise RuntimeError(
            "no worker process started: a script that starts workers must do its work under "
            '`if __name__ == "__main__":`, as every worker imports the script'
        ) from None


def _context(imported: Sequence[str]) -> multiprocessing.context.BaseContext:
    """How workers start: on Linux from one process that has imported torch once, elsewhere each anew."""
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver, resource_tracker

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(imported))
    with _without_a_word():
        resource_tracker.ensure_running()  # the server starts it otherwise, and it lets go of what is held back here
    # Inherited: Ctrl-C in a terminal reaches all its processes. Held back and not ignored: this process is to see it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


@contextmanager
def _without_a_word() -> Iterator[None]:
    """In the block a tracker starts that does not warn of what a process leaves behind that ends at once."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (before, "ignore:resource_tracker:UserWarning")))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


def _settle() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # a worker's own children are not to inherit that
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which outlives a worker that is killed
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # the store is made for it: see `heavytail.lab.store`
