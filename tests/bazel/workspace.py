"""A C++ work space that Bazel 4.2.3 builds without a network, in about 150 actions.

It holds what has made servers fail: libraries, a program and tests that depend on one another,
chains of small actions, several outputs of one action, an empty output, a program that is itself
made by an action, a directory as output and as input, and an output of several megabytes. The
sources are small, so that most of a build's time goes where the test looks: into the protocol.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

NAME = "generated"
SEED = 20_26

BIG_LINES = 900_000
"""Lines of the biggest output, 6 MB: more than a gRPC message of the usual limit, 4 MiB, holds."""

RULES = '''\
"""A rule whose output is a directory."""

def _tree(ctx):
    folder = ctx.actions.declare_directory(ctx.label.name)
    ctx.actions.run_shell(
        outputs = [folder],
        inputs = ctx.files.srcs,
        mnemonic = "Tree",
        progress_message = "Planting %s" % ctx.label,
        command = """
            set -e
            mkdir -p "$1/deep/er" "$1/empty"
            cat "${@:2}" > "$1/all.txt"
            : > "$1/deep/nothing"
            printf '#!/bin/sh\\\\nexec sort "$@"\\\\n' > "$1/deep/er/sorted"
            chmod +x "$1/deep/er/sorted"
            %s
        """ % ('ln -s ../all.txt "$1/deep/link"' if ctx.attr.linked else ""),
        arguments = [folder.path] + [source.path for source in ctx.files.srcs],
    )
    return [DefaultInfo(files = depset([folder]))]

tree = rule(
    implementation = _tree,
    attrs = {"srcs": attr.label_list(allow_files = True), "linked": attr.bool()},
)
'''

LINKED = "linked"
"""Tag of the action that makes a symlink: Bazel 4.2.3 refuses one that it is not to download."""

TOOL = """\
genrule(
    name = "tool",
    outs = ["tool.sh"],
    cmd = "printf '#!/bin/sh\\\\nexec tr a-z A-Z\\\\n' > $@",
    executable = True,
)
genrule(
    name = "used",
    srcs = ["salt.txt"],
    outs = ["used.txt"],
    cmd = "$(location :tool) < $< > $@",
    tools = [":tool"],
)"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is of each kind; with these numbers, about 150 actions."""

    libraries: int = 24
    tests: int = 5
    links: int = 36
    scripts: int = 4


def write_workspace(folder: Path, *, salt: str = "", size: Size | None = None) -> None:
    """Write the work space into `folder`, over what is there.

    salt: goes into every source; a new one makes every action a new one.
    """
    size = size or Size()
    files = {
        "WORKSPACE": f'workspace(name = "{NAME}")\n',
        **_cc_files(size, salt),
        **_chain_files(size, salt),
        **_script_files(size, salt),
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name.endswith(".sh") else 0o644)


def _cc_files(size: Size, salt: str) -> dict[str, str]:
    """Libraries that call earlier ones, a program that calls all, tests that call some."""
    dice = random.Random(SEED)
    files, rules = {}, []
    for number in range(size.libraries):
        callees = sorted(dice.sample(range(number), min(number, dice.randrange(4))))
        files[f"cc/part{number}.h"] = f"#pragma once\nint part{number}(int n);\n"
        files[f"cc/part{number}.cc"] = _part(number, callees, salt)
        rules.append(
            f'cc_library(name = "part{number}", srcs = ["part{number}.cc"], '
            f'hdrs = ["part{number}.h"], deps = {_labels(callees)})'
        )
    everything = range(size.libraries)
    files["cc/main.cc"] = _main(everything, salt, fails_if="false")
    rules.append(f'cc_binary(name = "main", srcs = ["main.cc"], deps = {_labels(everything)})')
    for number in range(size.tests):
        callees = sorted(dice.sample(everything, min(5, size.libraries)))
        files[f"cc/test{number}.cc"] = _main(callees, salt, fails_if="sum < 0")
        rules.append(
            f'cc_test(name = "test{number}", size = "small", srcs = ["test{number}.cc"], '
            f"deps = {_labels(callees)})"
        )
    files["cc/BUILD"] = "\n".join(rules) + "\n"
    return files


def _part(number: int, callees: Iterable[int], salt: str) -> str:
    calls = "".join(f" + part{callee}(n / 2)" for callee in callees)
    includes = "".join(f'#include "cc/part{callee}.h"\n' for callee in callees)
    offset = zlib.crc32(f"{salt}{number}".encode()) % 1000
    return (
        f'#include "cc/part{number}.h"\n{includes}'
        f"int part{number}(int n) {{ return n < 1 ? {offset} : (n % {number + 2}{calls}); }}\n"
    )


def _main(callees: Iterable[int], salt: str, *, fails_if: str) -> str:
    includes = "".join(f'#include "cc/part{callee}.h"\n' for callee in callees)
    calls = "".join(f"  sum += part{callee}(9);\n" for callee in callees)
    return (
        f"#include <cstdio>\n{includes}// {salt}\nint main() {{\n  long sum = 0;\n{calls}"
        f'  std::printf("%ld\\n", sum);\n  return ({fails_if}) ? 1 : 0;\n}}\n'
    )


def _labels(parts: Iterable[int]) -> str:
    return "[" + ", ".join(f'":part{part}"' for part in parts) + "]"


def _chain_files(size: Size, salt: str) -> dict[str, str]:
    """Actions that read one another's outputs, and those that make something uncommon."""
    rules = [
        'load("//:tree.bzl", "tree")',
        'package(default_visibility = ["//visibility:public"])',
    ]
    for number in range(size.links):
        # Three chains side by side.
        before = f'":link{number - 3}"' if number >= 3 else '"salt.txt"'
        rules.append(
            _genrule(f"link{number}", [f"link{number}.txt"], f"cksum $< > $@; echo {number} >> $@",
                     before)
        )  # fmt: skip
    several = ["several/a.txt", "several/deep/b.txt", "several/nothing"]
    ends = ", ".join(f'":link{number}"' for number in range(max(0, size.links - 3), size.links))
    rules += [
        _genrule(
            "several",
            several,
            "cp $< $(location several/a.txt); wc -c < $< > $(location several/deep/b.txt); "
            ": > $(location several/nothing)",
        ),
        TOOL,
        _genrule("big", ["big.txt"], f"cat $< > $@; seq {BIG_LINES} >> $@"),
        f'tree(name = "tree", srcs = ["salt.txt", {ends}])',
        f'tree(name = "link", srcs = ["salt.txt"], linked = True, tags = ["{LINKED}"])',
        _genrule("felled", ["felled.txt"], "$</deep/er/sorted $</all.txt > $@", '":tree"'),
    ]  # fmt: skip
    return {
        "BUILD": "",
        "tree.bzl": RULES,
        "chain/BUILD": "\n".join(rules) + "\n",
        "chain/salt.txt": f"salt {salt}\n",
    }


def _genrule(name: str, outs: list[str], command: str, source: str = '"salt.txt"') -> str:
    quoted = command.replace('"', '\\"')
    listed = ", ".join(f'"{out}"' for out in outs)
    return f'genrule(name = "{name}", srcs = [{source}], outs = [{listed}], cmd = "{quoted}")'


def _script_files(size: Size, salt: str) -> dict[str, str]:
    """Tests that are shell scripts and read what an action made."""
    files, rules = {}, []
    for number in range(size.scripts):
        files[f"sh/script{number}.sh"] = (
            f"#!/bin/sh\n# {salt}\n"
            f'grep -qx {number} chain/link{number}.txt && [ -d "$TEST_TMPDIR" ]\n'
        )
        rules.append(
            f'sh_test(name = "script{number}", size = "small", srcs = ["script{number}.sh"], '
            f'data = ["//chain:link{number}"])'
        )
    files["sh/BUILD"] = "\n".join(rules) + "\n"
    return files
