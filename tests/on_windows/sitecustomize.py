"""Lets Linux refuse what Windows refuses. With this folder on PYTHONPATH, a Python begins with :func:`install`.

What the package sees lacks the POSIX parts of ``os`` and ``signal``, ``/proc``, ``resource`` and ``fcntl``, and its
``os.name`` is ``nt``; other libraries keep all that, as they need it on Linux. For all of them, files that this process
holds open or maps can be neither replaced nor removed, some names are refused, and text files have the encoding and the
line ends of a Western European Windows unless another one is asked for. It knows nothing of paths with backslashes.
"""

import builtins
import ctypes
import errno
import fcntl
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

PACKAGE = "gpt_classifier"
POSIX_MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}
POSIX_ONLY = {
    "os": "sysconf sysconf_names fork forkpty getuid geteuid getgid getegid getgroups getpgid setsid setpgid killpg "
    "nice uname sched_getaffinity sched_setaffinity wait wait3 wait4 chown fchown fchmod lchown mkfifo mknod statvfs "
    "pread pwrite sync getloadavg posix_spawn openpty setuid confstr O_CLOEXEC O_NONBLOCK O_DIRECTORY WNOHANG",
    "signal": "SIGUSR1 SIGUSR2 SIGKILL SIGHUP SIGALRM SIGCHLD SIGQUIT SIGSTOP SIGCONT pause alarm setitimer "
    "pthread_kill sigwait pthread_sigmask siginterrupt",
}
MEMORY, PEAK = 17_179_869_184, 123_456_789  # bytes that this Windows says
RESERVED = re.compile(r'[<>:"|?*\x00-\x1f]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)
REAL = SimpleNamespace(open=io.open, stat=os.stat, importing=builtins.__import__)
_handlers = {name: getattr(os, name) for name in ("fsync", "replace", "rename", "unlink", "remove", "mkdir")}


def install(put: Callable[[object, str, Any], None] = setattr) -> None:
    """Changes this process, by ``put``, which sets the attribute of an object."""
    put(os, "fsync", fsync)
    put(os, "replace", replace)
    put(os, "rename", rename)
    put(os, "unlink", unlink)
    put(os, "remove", unlink)
    put(os, "mkdir", mkdir)
    put(os, "stat", stat)
    put(io, "open", open_file)
    put(builtins, "open", open_file)
    kernel = SimpleNamespace(
        GlobalMemoryStatusEx=_memory_status, GetCurrentProcess=_Function(-1), K32GetProcessMemoryInfo=_memory_info
    )
    put(ctypes, "windll", SimpleNamespace(kernel32=kernel))
    seen = {name: _without(REAL.importing(name), names.split()) for name, names in POSIX_ONLY.items()}

    def importing(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if not level and _is_ours((globals or {}).get("__name__")):
            if name in POSIX_MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            if name in seen:
                return seen[name]
        return REAL.importing(name, globals, locals, fromlist, level)

    seen["os"].name = "nt"
    put(builtins, "__import__", importing)
    for module in [module for name, module in sys.modules.items() if _is_ours(name)]:
        for name, poorer in seen.items():
            if vars(module).get(name) is sys.modules[name]:
                put(module, name, poorer)


def _is_ours(module: Any) -> bool:
    return str(module).partition(".")[0] == PACKAGE


def _without(module: ModuleType, names: list[str]) -> ModuleType:
    poorer = ModuleType(module.__name__)
    vars(poorer).update({name: value for name, value in vars(module).items() if name not in names})
    return poorer


# ---------------------------------------------------------------- files


def held(path: str) -> str | None:
    """The file at ``path``, or in the folder there, that this process holds open or maps; None if there is none."""
    path = os.path.realpath(path)
    return next((file for file in _held() if file == path or file.startswith(path + os.sep)), None)


def _held() -> Iterator[str]:
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            file = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue  # that of listdir itself
        if file.startswith("/") and not os.path.isdir(file):
            yield file
    yield from _mapped()


def _mapped() -> Iterator[str]:
    with REAL.open("/proc/self/maps", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if "/" in line:
                yield line[line.index("/") :].rstrip("\n")


def _refuse_held(path: Any, folder: int | None = None) -> None:
    name = os.fsdecode(path)
    if folder is not None:
        name = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
    if os.path.lexists(name) and (file := held(name)) is not None:
        raise PermissionError(errno.EACCES, "The process cannot access the file, as it is being used", file)


def _refuse_name(path: Any) -> None:
    name = os.path.basename(os.fsdecode(path))
    if RESERVED.search(name):
        raise OSError(errno.EINVAL, "The filename, directory name, or volume label syntax is incorrect", name)


def fsync(descriptor: Any) -> None:
    number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
    if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    _handlers["fsync"](number)


def replace(source: Any, target: Any, **folders: Any) -> None:
    _refuse_name(target)
    _refuse_held(source)
    _refuse_held(target)
    _handlers["replace"](source, target, **folders)


def rename(source: Any, target: Any, **folders: Any) -> None:
    _refuse_name(target)
    _refuse_held(source)
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "Cannot create a file when that file already exists", target)
    _handlers["rename"](source, target, **folders)


def unlink(path: Any, *, dir_fd: int | None = None) -> None:
    _refuse_held(path, dir_fd)
    _handlers["unlink"](path, dir_fd=dir_fd)


def mkdir(path: Any, *rest: Any, **named: Any) -> None:
    _refuse_name(path)
    _handlers["mkdir"](path, *rest, **named)


def stat(path: Any, **named: Any) -> os.stat_result:
    _refuse_proc(path)
    return REAL.stat(path, **named)


def open_file(
    file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None,
    closefd: bool = True, opener: Any = None,
) -> Any:  # fmt: skip
    if not isinstance(file, int):
        _refuse_proc(file)
        if any(sign in mode for sign in "wx"):
            _refuse_name(file)
            if os.path.realpath(os.fsdecode(file)) in set(_mapped()):
                raise PermissionError(errno.EACCES, "The file has a user-mapped section open", file)
    if "b" not in mode:
        newline = "\r\n" if newline is None and any(sign in mode for sign in "wax") else newline
        encoding = "cp1252" if encoding in (None, "locale") else encoding
    return REAL.open(file, mode, buffering, encoding, errors, newline, closefd, opener)


def _refuse_proc(path: Any) -> None:
    if not isinstance(path, int) and os.fsdecode(path).startswith("/proc/"):
        frame = sys._getframe(2)
        while frame.f_back and frame.f_globals.get("__name__") in ("pathlib", "genericpath", "posixpath"):
            frame = frame.f_back
        if _is_ours(frame.f_globals.get("__name__")):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


# ---------------------------------------------------------------- memory


class _Function(SimpleNamespace):
    """A function of a library, whose result has a type."""

    def __init__(self, value: int) -> None:
        super().__init__(value=value, restype=ctypes.c_int)

    def __call__(self) -> int | None:
        return self.restype(self.value).value


def _memory_status(reference: Any) -> int:
    status = ctypes.string_at(ctypes.addressof(reference._obj), 64)
    assert int.from_bytes(status[:4], sys.byteorder) == ctypes.sizeof(reference._obj) == 64
    ctypes.memmove(ctypes.addressof(reference._obj) + 8, MEMORY.to_bytes(8, sys.byteorder), 8)
    return 1


def _memory_info(process: Any, reference: Any, size: int) -> int:
    assert process.value == 2**64 - 1
    assert size == ctypes.sizeof(reference._obj) == 72
    ctypes.memmove(ctypes.addressof(reference._obj) + 8, PEAK.to_bytes(8, sys.byteorder), 8)
    return 1


if __name__ == "sitecustomize":
    install()
