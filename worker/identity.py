"""What says who and where an action is: files of /etc, the same on every worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from re_config.schema import Prevention

HOST_NAME = "holdfast"
HOME = "/run/home"  # of an action, where its Command names none
# Ids and names of passwd(5) and group(5) that Debian's base-passwd and others agree on.
PASSWD = f"""\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:x:2:2:bin:/bin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:{HOME}:/bin/sh
"""
GROUP = """\
root:x:0:
daemon:x:1:
bin:x:2:
tty:x:5:
nogroup:x:65534:
"""
MACHINE_ID = "0" * 31 + "1"  # of machine-id(5), which may not be all zeros
READABLE = 0o444


def hosts(name: str) -> str:
    """Return the text of /etc/hosts on a host called `name`, which reaches itself alone."""
    return f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {name}\n"


def write(folder: Path, prevent: Prevention, host_name: str = HOST_NAME) -> dict[str, Path]:
    """Write the files that `prevent` asks for into `folder`; return them by their place in /etc.

    What is there already stays, since it is the same: actions that are running may have it.
    """
    texts: dict[str, str] = {}
    if prevent.users:
        texts |= {"passwd": PASSWD, "group": GROUP}
    if prevent.machine:
        texts |= of_host(host_name)
        texts |= {"machine-id": f"{MACHINE_ID}\n", "timezone": "Etc/UTC\n"}
    return put(folder, texts)


def of_host(name: str) -> dict[str, str]:
    """Return the texts in /etc that hold the host's name."""
    return {"hosts": hosts(name), "hostname": f"{name}\n"}


def put(folder: Path, texts: Mapping[str, str]) -> dict[str, Path]:
    """Write `texts` into files of `folder` that all can read."""
    made: dict[str, Path] = {}
    for name, text in texts.items():
        made[name] = folder / name
        if not made[name].exists():
            made[name].write_text(text)
            made[name].chmod(READABLE)
    return made


def bindable(names: Iterable[str], *, host_shown: bool) -> list[str]:
    """Return those of /etc's files that others can be shown in place of.

    host_shown: whether actions see the host's /etc; a file that it has not got cannot be added
    there, and one that is a link may name something that is meant for others too.
    """
    if not host_shown:
        return list(names)
    paths = {name: Path("/etc", name) for name in names}
    return [name for name, path in paths.items() if path.is_file() and not path.is_symlink()]
