"""Revisions of git repositories, by the git program.

Nothing is checked out: files are read from git's own objects, so that no hook, filter, attribute or
submodule of the repository has a say.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from assets.addresses import public_addresses
from assets.fault import AssetNotFound, AssetTooLarge, OriginFault, OriginRefused, OriginUnreachable
from assets.files import check_real
from assets.origins import Origins, Place, Reach
from cas.disk_lane import Lane

FULL_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
SAID_BYTES = 500  # of git's own words in an error
_REVISION = re.compile(r"[A-Za-z0-9_./@{}~^+#][A-Za-z0-9_./@{}~^+#-]*")
_SETTINGS = """\
[core]
    hooksPath = /dev/null
[protocol]
    allow = never
    version = 2
[protocol "{scheme}"]
    allow = always
[http]
    followRedirects = false
    proxy = ""
{http}
[credential]
    helper =
[fetch]
    fsckObjects = true
    recurseSubmodules = false
[gc]
    auto = 0
[maintenance]
    auto = false
[transfer]
    unpackLimit = 1
[safe]
    directory = *
"""


class GitFailed(Exception):
    """git ended with an error; the message is its own."""


@dataclass(frozen=True, slots=True)
class Revision:
    """What is wanted of a repository: the head where neither is given. Each may be ""."""

    branch: str = ""
    commit: str = ""

    @property
    def is_fixed(self) -> bool:
        """Whether it always means the same."""
        return bool(FULL_COMMIT.fullmatch(self.commit))

    @property
    def is_sound(self) -> bool:
        """Whether both are what git takes for revisions, and not for options or ranges."""
        return all(
            not text or (_REVISION.fullmatch(text) and ".." not in text)
            for text in (self.branch, self.commit)
        )


async def fetch_revision(
    git: Git, place: Place, revision: Revision, origins: Origins, headers: Mapping[str, str]
) -> str:
    """Fetch a revision, its own commit alone where the server can give that; return the commit.

    Raises an OriginFault.
    """
    await _configure(git, place, origins, headers)
    await git.run("init", "--quiet", "--bare")
    url = str(place.url)
    if not (revision.branch and revision.commit):
        wanted = revision.commit or (f"refs/heads/{revision.branch}" if revision.branch else "HEAD")
        with suppress(GitFailed):  # a server, or a name, for which everything has to be fetched
            await git.run("fetch", "--quiet", "--depth=1", "--no-tags", url, wanted)
            return await git.commit("FETCH_HEAD")
    try:
        await git.run("fetch", "--quiet", url, "HEAD", "+refs/heads/*:refs/heads/*",
                      "+refs/tags/*:refs/tags/*")  # fmt: skip
    except GitFailed as failed:
        raise _fault(str(failed)) from None
    return await _found(git, revision)


async def _found(git: Git, revision: Revision) -> str:
    """Return the commit of a revision of a repository that was fetched as a whole."""
    branch = f"refs/heads/{revision.branch}" if revision.branch else ""
    try:
        commit = await git.commit(revision.commit or branch or "FETCH_HEAD")
        if branch:
            await git.run("merge-base", "--is-ancestor", commit, branch)
    except GitFailed:
        raise AssetNotFound(
            f"the repository has no revision {revision.commit or revision.branch!r}"
            + (f" on branch {revision.branch!r}" if revision.commit and revision.branch else "")
        ) from None
    return commit


async def _configure(git: Git, place: Place, origins: Origins, headers: Mapping[str, str]) -> None:
    """Write the only configuration that git reads. Headers stand there, not on a command line."""
    http = [f"    extraHeader = {_quoted(f'{name}: {value}')}" for name, value in headers.items()]
    reach = origins.reach(place)
    if place.url.scheme == "file":
        check_real(place, place.path, origins)
    elif reach is Reach.PUBLIC:
        host, port = place.url.host or "", place.url.port or 0
        found = ",".join(map(_bracketed, await public_addresses(host, port)))
        http.append(f"    curloptResolve = {_quoted(f'{_bracketed(host)}:{port}:{found}')}")
    settings = _SETTINGS.format(scheme=place.url.scheme, http="\n".join(http))
    git.settings.write_text(settings, encoding="latin-1")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


class Git:
    """The git program, at work in `folder` alone.

    Neither the system's nor a user's configuration is read, and nobody is asked for anything.
    """

    def __init__(self, folder: Path, lane: Lane, max_bytes: int) -> None:
        self._lane = lane
        self.repository = folder / "repository"
        self.settings = folder / "gitconfig"
        self._max_bytes = max_bytes
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "LC_ALL": "C",
            "GIT_CONFIG_GLOBAL": str(self.settings),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "GIT_CEILING_DIRECTORIES": str(folder),
            "GIT_NO_REPLACE_OBJECTS": "1",
        }

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that has git work on the repository."""
        where = f"--git-dir={self.repository}"
        return ["prlimit", f"--fsize={self._max_bytes}", "git", where, *arguments]

    async def run(self, *arguments: str) -> str:
        """Run git in the repository; return what it prints. Raises GitFailed, AssetTooLarge.

        It is killed with all that it started when the caller is cancelled.
        """
        process = self._started(arguments)
        try:
            out, errors = await self._lane.run(process.communicate)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
        said = errors.decode(errors="replace").strip()
        if process.returncode == 0:
            return out.decode(errors="replace").strip()
        if process.returncode == -signal.SIGXFSZ or "signal 25" in said or "too large" in said:
            raise AssetTooLarge(
                f"git wants to write more than assets.max_bytes = {self._max_bytes}"
            )
        raise GitFailed(said[-SAID_BYTES:] or f"git {arguments[0]} ends with {process.returncode}")

    def _started(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start git. asyncio's own way forks, and gRPC's threads crash in the child then."""
        try:
            return subprocess.Popen(  # noqa: S603
                self.command(*arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.environment,
                start_new_session=True,
            )
        except OSError as error:
            raise OriginUnreachable(
                f"git cannot be run, for which git and prlimit must be on PATH: {error.strerror}"
            ) from error

    async def commit(self, revision: str) -> str:
        """Return the full name of a commit; raise GitFailed."""
        return await self.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
        )


_MEANINGS: Mapping[str, type[OriginFault]] = {
    "not found": AssetNotFound,
    "does not exist": AssetNotFound,
    "not appear to be a git repository": AssetNotFound,
    "couldn't find remote ref": AssetNotFound,
    "Authentication failed": OriginRefused,
    "could not read Username": OriginRefused,
    "error: 403": OriginRefused,
    "error: 401": OriginRefused,
}


def _fault(said: str) -> OriginFault:
    """Tell from git's words what is wrong: its exit status says nothing."""
    kind = next((kind for words, kind in _MEANINGS.items() if words in said), OriginUnreachable)
    return kind(f"git: {said}")
