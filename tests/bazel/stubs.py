"""What Bazel 4.2.3 asks for before it builds C++, without a network.

Its own tools load the rule sets that it would otherwise download. Each repository here hands the
names that are asked for to the rules that are compiled into Bazel. Two more come from Debian's
packages bazel-platforms and bazel-skylib.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import dedent

DEBIAN_TOOLS = Path("/usr/share/bazel/tools")
INSTALLED = {"bazel_skylib": DEBIAN_TOOLS / "skylib", "platforms": DEBIAN_TOOLS / "platforms"}

CC_RULES = (
    "cc_binary",
    "cc_import",
    "cc_library",
    "cc_proto_library",
    "cc_test",
    "cc_toolchain",
    "cc_toolchain_suite",
    "fdo_prefetch_hints",
    "fdo_profile",
    "objc_import",
    "objc_library",
)
JAVA_RULES = (
    "java_binary",
    "java_import",
    "java_library",
    "java_lite_proto_library",
    "java_package_configuration",
    "java_plugin",
    "java_proto_library",
    "java_runtime",
    "java_test",
    "java_toolchain",
)
PROTO_RULES = ("proto_lang_toolchain", "proto_library")
PYTHON_RULES = ("py_binary", "py_library", "py_runtime", "py_test")

OPTIONS = """\
# The environment of an action does not follow from the shell that Bazel was started in.
build --incompatible_strict_action_env
# Debian turns it on for everybody; it keeps the folder of every action and prints a line for each.
build --nosandbox_debug
# Bazel's own reports, one line each, as a log file wants them.
common --color=no
common --curses=no
build --show_progress_rate_limit=30
test --test_output=errors
"""


def native(rules: Iterable[str]) -> str:
    """Return a .bzl file that offers Bazel's own `rules` under their names."""
    return "".join(f"{rule} = native.{rule}\n" for rule in rules)


def repositories() -> Mapping[str, Mapping[str, str]]:
    """Return each stub repository's files: what they hold, by path."""
    coverage = "".join(
        f'filegroup(name = "{name}", visibility = ["//visibility:public"])\n'
        for name in ("coverage_report_generator", "lcov_merger")
    )
    toolchain_type = dedent("""\
        alias(
            name = "toolchain_type",
            actual = "@bazel_tools//tools/cpp:toolchain_type",
            visibility = ["//visibility:public"],
        )
    """)
    return {
        "rules_cc": {
            "BUILD": "",
            "cc/BUILD": toolchain_type,
            "cc/defs.bzl": native(CC_RULES),
            **{f"cc/{rule}.bzl": native([rule]) for rule in CC_RULES},
        },
        "rules_java": {"BUILD": "", "java/BUILD": "", "java/defs.bzl": native(JAVA_RULES)},
        "rules_proto": {"BUILD": "", "proto/BUILD": "", "proto/defs.bzl": native(PROTO_RULES)},
        "rules_python": {"BUILD": "", "python/BUILD": "", "python/defs.bzl": native(PYTHON_RULES)},
        "remote_coverage_tools": {"BUILD": coverage},
    }


def write_stubs(folder: Path) -> Path:
    """Write the stub repositories into `folder`; return the bazelrc file that makes Bazel use them.

    Raises FileNotFoundError, with the command that mends it, where Debian's packages are missing.
    """
    for path in INSTALLED.values():
        if not path.is_dir():
            raise FileNotFoundError(f"{path} is not there: run `make setup`")
    folder = folder.resolve()
    for repository, files in repositories().items():
        named = {"WORKSPACE": f'workspace(name = "{repository}")\n', **files}
        for name, text in named.items():
            path = folder / repository / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    places = {name: folder / name for name in repositories()} | INSTALLED
    rc = folder / "bazelrc"
    overrides = [f"common --override_repository={name}={path}" for name, path in places.items()]
    rc.write_text("\n".join(overrides) + "\n" + OPTIONS)
    return rc
