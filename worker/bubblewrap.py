"""The sandbox that bubblewrap makes: name spaces for processes, mounts, network, host name, users.

Actions run as the same user inside, whatever the worker is:

- A worker that is root starts bubblewrap as root, which may then bind folders that nobody else can
  reach, and the first thing inside becomes ACTION_USER for good. Nothing that the worker owns can
  be changed from there, hard links included.
- Any other worker has bubblewrap make a user name space, in which it is ACTION_USER by name alone.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import posixpath
import select
import shlex
import shutil
import signal
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from re_config import schema
from worker import environment, identity, seeded, variation
from worker.conditions import own_umask
from worker.folders import Folders
from worker.hiding import covers
from worker.identity import HOME, HOST_NAME
from worker.prevention import in_force, unrandomised
from worker.process import (
    STATUS_FD,
    Child,
    Report,
    Spawner,
    all_reports,
    exit_code,
    first_report,
    supervise,
)
from worker.sandbox import (
    ACTION_USER,
    GIVEN_UP,
    Ended,
    Run,
    Sandbox,
    SandboxUnavailable,
    try_out,
)
from worker.usage import Usage

PRIVATE = ("/tmp", "/var/tmp", "/dev/shm", "/run")  # noqa: S108 - a file system of each action's own
OWNED = ("/proc", "/dev", "/sys", "/b")
# Variables that name a folder which programs expect to be able to write to.
FOLDER_VARIABLES = ("HOME", "TMPDIR", "TMP", "TEMP", "TEST_TMPDIR", "XDG_CACHE_HOME")
NOT_ROOTS = (*PRIVATE, "/proc", "/dev", "/sys")  # where no input root may be
MAX_ARGUMENTS = 8000  # bubblewrap 0.8 refuses more than 9000, its own included
SCRIPT = "/run/command"  # where a command of more than that is found inside
# Settings of the kernel. Who owns them may write them, capabilities or none: so might the actions
# of a worker that is root and cannot give them another user, core_pattern included.
GUARDED = tuple(
    f"/proc/{name}" for name in ("acpi", "bus", "fs", "irq", "scsi", "sys", "sysrq-trigger")
)
NAME_SPACES = ("pid", "cgroup-try")
LIBRARY = "/run/seeded.so"  # where the library of seeded randomness is found inside
# Those of PRIVATE that actions can be made to share, and what they are called in Folders.shared.
SHARED = {"/tmp": "tmp", "/var/tmp": "var-tmp", "/dev/shm": "shm"}  # noqa: S108


class Bubblewrap(Sandbox):
    """Runs each command under bubblewrap.

    user: ACTION_USER, for a worker that is root, or None. library: see worker/seeded.py, if there
    is one. The spawner is one that sets the conditions that `prevent` asks for.
    """

    def __init__(
        self,
        config: schema.Bubblewrap,
        prevent: schema.Prevention,
        folders: Folders,
        spawner: Spawner,
        *,
        user: int | None = None,
        library: Path | None = None,
    ) -> None:
        self.user = user
        self._config = config
        self._prevent = prevent
        self._folders = folders
        self._spawner = spawner
        self._library = library
        self._visible = [path.rstrip("/") for path in config.read_only]
        self._env, self._setpriv = _tool("env"), _tool("setpriv")
        self._mounts = self._fixed_mounts()

    async def probe(self, folder: Path) -> None:
        if shutil.which(self._config.program) is None:
            raise SandboxUnavailable(
                f"the program {self._config.program!r} is not found: install bubblewrap "
                f"(`make setup`), or set worker.sandbox.program to where it is; {GIVEN_UP}"
            )
        try:
            said = await try_out(self, folder, ["cat", "/proc/self/personality"])
        except SandboxUnavailable as error:
            raise SandboxUnavailable(
                f"bubblewrap does not work here, often since name spaces are not allowed: {error}. "
                f"If that cannot be changed: {GIVEN_UP}"
            ) from error

        self.switches = in_force(
            self._prevent,
            also=("mounts", "processes", *(() if self._config.network else ("network",))),
            addresses=unrandomised(said),
            library=self._library is not None,
        )

    def shown(self, run: Run) -> str:
        return run.varied.root or (run.path if self._prevent.path else str(run.root))

    async def run(self, run: Run) -> Ended:
        variation.check(run.varied, [*self._visible, *NOT_ROOTS])
        await asyncio.sleep(run.varied.delay.ToNanoseconds() / 1e9)
        options = [*self._name_spaces(run), *self._mounts, *self._own_mounts(run)]
        start = ["--chdir", posixpath.join(self.shown(run), run.working_directory), "--"]
        command = [*options, *start, *self._program(run)]
        if len(command) > MAX_ARGUMENTS:
            script = run.scratch / "command"
            script.write_text(f"exec {shlex.join(self._program(run, switch=False))}\n")
            script.chmod(0o444)
            command = [*options, "--ro-bind", str(script), SCRIPT, *start]
            command += [*self._switch(), "/bin/sh", SCRIPT]
        return await supervise(self._spawner, command, run, _end)

    def _program(self, run: Run, *, switch: bool = True) -> list[str]:
        """Return what bubblewrap is to execute.

        The action's variables are set by the last program before it: LD_PRELOAD must have no
        effect on bubblewrap, which runs outside, nor on what changes the user.
        """
        command = [*self._switch()] if switch else []
        if not self._prevent.umask:
            command += ["/bin/sh", "-c", 'umask "$1"; shift; exec "$@"', "sh", own_umask()]
        command += variation.skipping(run.varied.skipped_pids)
        command += [self._env, "-i", "--", *self._variables(run)]
        if "=" in run.arguments[0]:  # env would take it for a variable
            command += [self._setpriv, "--no-new-privs", "--"]
        return [*command, *run.arguments]

    def _variables(self, run: Run) -> Iterator[str]:
        whole = environment.whole(
            self._prevent,
            run.environment,
            home=HOME,
            own=os.environ,
            varied=run.varied.environment,
        )
        seed = run.varied.random_seed or run.seed
        if seed and self._library:
            whole |= seeded.variables(seed, LIBRARY, whole)
        return (f"{name}={value}" for name, value in sorted(whole.items()))

    def _switch(self) -> list[str]:
        if self.user is None:
            return []
        user = str(self.user)
        options = ["--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all"]
        return [self._setpriv, *options, "--"]

    def _name_spaces(self, run: Run) -> list[str]:
        program = shutil.which(self._config.program) or self._config.program
        options = [program, "--json-status-fd", str(STATUS_FD)]
        options += [f"--unshare-{name}" for name in NAME_SPACES]
        if self._prevent.ipc:
            options.append("--unshare-ipc")
        if not self._config.network:
            options.append("--unshare-net")
        if host_name := run.varied.host_name or (HOST_NAME if self._prevent.host_name else ""):
            options += ["--unshare-uts", "--hostname", host_name]
        options += ["--die-with-parent", "--new-session"]
        if self.user is not None:
            return [*options, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        options.append("--unshare-user")
        user = str(ACTION_USER)
        return [*options, "--uid", user, "--gid", user] if self._prevent.users else options

    def _fixed_mounts(self) -> list[str]:
        mounts = {path: _read_only(path, self._visible) for path in self._visible}
        mounts |= {"/proc": ["--proc", "/proc"], "/dev": ["--dev", "/dev"]}
        mounts |= {path: _private(path) for path in PRIVATE}
        if not self._prevent.temporary:
            mounts |= self._shared()
        if self._prevent.home:
            mounts[HOME] = _folder(HOME, "1777")
        if self.user is None:
            mounts |= {path: ["--ro-bind", path, path] for path in GUARDED if Path(path).exists()}
        mounts["/b"] = _folder("/b")
        mounts |= self._identity()
        mounts |= covers([*self._config.hidden, str(self._folders.path)], self._visible)
        for folder in {parent for path in mounts for parent in _parents(path, self._visible)}:
            mounts[folder] = _folder(folder)
        # What lies above comes first.
        return [option for path in sorted(mounts) for option in mounts[path]]

    def _shared(self) -> dict[str, list[str]]:
        mounts = {}
        for path, name in SHARED.items():
            folder = self._folders.shared / name
            folder.mkdir(exist_ok=True)
            folder.chmod(0o1777)
            mounts[path] = ["--bind", str(folder), path]
        return mounts

    def _identity(self) -> dict[str, list[str]]:
        return self._in_etc(identity.write(self._folders.fixed, self._prevent))

    def _in_etc(self, files: Mapping[str, Path]) -> dict[str, list[str]]:
        names = identity.bindable(files, host_shown="/etc" in self._visible)
        return {f"/etc/{name}": _bound(files[name], f"/etc/{name}") for name in names}

    def _own_mounts(self, run: Run) -> Iterator[str]:
        """Yield the options that mount what this run alone has."""
        for folder in private_folders(run.environment, self._visible):
            yield from _private(folder)
        if run.varied.host_name:
            files = identity.put(run.scratch, identity.of_host(run.varied.host_name))
            for binding in self._in_etc(files).values():
                yield from binding
        if seed := run.varied.random_seed or run.seed:
            random = run.scratch / "random"
            seeded.write_random(random, seed)
            for device in seeded.DEVICES:
                yield from _bound(random, device)
            if self._library:
                yield from _bound(self._library, LIBRARY)
        shown = self.shown(run)
        for folder in _parents(shown, self._visible):
            yield from _folder(folder)
        yield from ("--bind", str(run.root), shown, "--remount-ro", "/")


def private_folders(environment: Mapping[str, str], visible: Iterable[str]) -> list[str]:
    """Return folders that variables name and that the action could not see: it gets empty ones."""
    taken = [*visible, *OWNED]
    named = {
        posixpath.normpath(environment[name])
        for name in FOLDER_VARIABLES
        if environment.get(name, "").startswith("/")
    }
    return sorted(
        folder
        for folder in named
        if not _overlaps(folder, taken)
        and not any(f"{private}/".startswith(f"{folder.rstrip('/')}/") for private in PRIVATE)
    )


def _overlaps(folder: str, taken: Iterable[str]) -> bool:
    below = f"{folder.rstrip('/')}/"
    return any(below.startswith(f"{path}/") or path.startswith(below) for path in taken)


def _parents(path: str, visible: Iterable[str]) -> list[str]:
    """Return the folders above `path` that are not there without being made, the highest first.

    Bubblewrap would make them itself, but for its own user alone.
    """
    there = [*visible, "/proc", "/dev"]
    above = [str(parent) for parent in Path(path).parents][-2::-1]
    return [
        folder
        for folder in above
        if folder not in PRIVATE
        and not any(f"{folder}/".startswith(f"{other}/") for other in there)
    ]


def _folder(path: str, mode: str = "0755") -> list[str]:
    return ["--perms", mode, "--dir", path]


def _bound(file: Path, path: str) -> list[str]:
    return ["--ro-bind", str(file), path]


def _private(path: str) -> list[str]:
    return ["--perms", "1777", "--tmpfs", path]


def _read_only(path: str, visible: list[str]) -> list[str]:
    """Return options that show `path` of the host: a link as a link, if what it names is shown."""
    if not Path(path).exists():
        return []
    real = os.path.realpath(path)
    if Path(path).is_symlink() and _overlaps(real, [other for other in visible if other != path]):
        return ["--symlink", str(Path(path).readlink()), path]
    return ["--ro-bind", real, path]


def _tool(name: str) -> str:
    """Return where a program of the sandbox's own is, inside and outside."""
    return shutil.which(name, path="/usr/bin:/bin") or f"/usr/bin/{name}"


def _end(child: Child) -> Report:
    """Kill the first process of the name space, and with it all others; wait for bubblewrap."""
    read = first_report(child)
    if not read:  # it failed, or is about to, before there was any
        os.kill(child.pid, signal.SIGKILL)
        return Report(None, Usage.of(os.wait4(child.pid, 0)[2]))
    first = json.loads(read.splitlines()[0])
    inner = _killed(first["child-pid"], first["pid-namespace"])
    usage = Usage.of(os.wait4(child.pid, 0)[2])
    # Bubblewrap's own largest size is this process's, which it was for a moment.
    usage = dataclasses.replace(usage, max_rss_bytes=0)
    if inner is not None:
        usage = _reaped(first["child-pid"], inner) or usage
    return Report(exit_code(all_reports(child, read)), usage)


def _killed(pid: int, name_space: int) -> int | None:
    """Kill `pid` if it is the first process of `name_space`; return a handle on it.

    The number may be another process's by now: only one in that name space is killed. One that
    cannot be looked at has ended.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        if str(Path(f"/proc/{pid}/ns/pid").readlink()) == f"pid:[{name_space}]":
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            return handle
    except OSError:
        return handle
    os.close(handle)
    return None


def _reaped(pid: int, handle: int) -> Usage | None:
    """Wait until the name space's first process, and so every one in it, is gone.

    Returns what they all used; None if bubblewrap was the one to reap it, which then counts it.
    """
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll()
        # Only a child that was not reaped passes, and its number cannot be another's until it is.
        os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return None
    finally:
        os.close(handle)
    return Usage.of(os.wait4(pid, 0)[2])
