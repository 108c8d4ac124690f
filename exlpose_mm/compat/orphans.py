"""No worker process outlives the one that started it."""

import ctypes
import os
import signal

_PARENT: list[int] = []


def end_with_parent() -> None:
    """Have every process that this one forks from now on killed when this one ends, however it ends.

    torch's loader workers watch their parent, but not while they wait for someone to read a full queue. Only Linux can
    do so.
    """
    if _PARENT or not hasattr(os, 'register_at_fork'):
        return
    _PARENT.append(os.getpid())
    os.register_at_fork(before=_note_parent, after_in_child=_follow_parent)


def _note_parent() -> None:
    _PARENT[0] = os.getpid()


def _follow_parent() -> None:
    set_parent_death_signal = 1  # linux/prctl.h
    try:
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != _PARENT[0]:  # which ended meanwhile
        os._exit(1)
