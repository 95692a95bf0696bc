"""Computations side by side in processes that end with the process that started them."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from paperlib.repro.progress import quiet, show_notes

_PR_SET_PDEATHSIG = 1


def side_by_side(execute: Callable, calls: Sequence[tuple], runs_folder: Path, *, workers: int) -> None:
    """`execute(*call)` of every call, `workers` at a time, the bars of all in this process's terminal.

    The first failure stops the rest and is raised; so does an interrupt. `execute` and the calls must be picklable.
    With one worker, or one call, everything happens in this process.
    """
    if workers == 1 or len(calls) < 2:
        for call in calls:
            execute(*call)
        return
    # A CUDA context does not survive a fork.
    context = get_context("spawn")
    # Nothing is ever written to the pipe: it closes when this process closes its end, or dies.
    lifeline, end = context.Pipe(duplex=False)
    with ProcessPoolExecutor(workers, context, _begin_worker, (lifeline, os.getpid())) as pool:
        try:
            futures = [pool.submit(execute, *call) for call in calls]
            show_notes(runs_folder, until=lambda: all(f.done() for f in futures) or any(map(_failed, futures)))
            for future in sorted(futures, key=_failed, reverse=True):
                future.result()
        except BaseException:
            end.close()
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            lifeline.close()
    end.close()


def _failed(future) -> bool:
    return future.done() and future.exception() is not None


def _begin_worker(lifeline: Connection, parent: int) -> None:
    quiet()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # An interrupt from the terminal reaches all processes; the parent says what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        # The kernel's own way, which also reaches a worker that holds the interpreter in a long call.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    try:
        lifeline.recv()
    except (EOFError, OSError):
        os._exit(1)
