"""A real C++ project, built and tested remotely by the real Bazel."""

from __future__ import annotations

from pathlib import Path

from tests.bazel.driver import Build, running_bazel
from tests.bazel.options import execution
from tests.bazel.real_project import DOUBLE_CONVERSION, source_entries, unpack
from tests.serving import Served


def build_and_test(served: Served, folder: Path, rc: Path) -> Build:
    """Build and test the project in a new work space, with a new output base."""
    unpack(DOUBLE_CONVERSION, folder / "sources")
    with running_bazel(folder / "sources", folder / "output_base", rc=rc) as bazel:
        targets = (*DOUBLE_CONVERSION.targets, *DOUBLE_CONVERSION.tests)
        build = bazel.test(*targets, *execution(served))
    assert build.status == 0, build.output
    return build


def test_a_real_project_is_built_and_tested_once_for_two_developers(
    served: Served, tmp_path: Path, rc: Path
) -> None:
    cold = build_and_test(served, tmp_path / "one", rc)
    assert len(cold.executed_remotely) == len(cold.spawns) > 20
    warm = build_and_test(served, tmp_path / "two", rc)
    assert warm.executed == []
    assert warm.remote_hits == len(cold.spawns)
    assert warm.outputs() == cold.outputs()


def test_the_sources_come_from_where_the_machine_has_its_packages(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://old.example/debian bookworm main\n"
        "deb [signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib\n"
        "deb-src http://mirror.example/debian bookworm main\n"
        "deb http://mirror.example/debian bookworm-updates main\n"
    )
    (parts / "debian.sources").write_text(
        "# the installer wrote this\nTypes: deb deb-src\nURIs: http://a.example/debian\n"
        "Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n\n"
        "Types: deb\nURIs: http://b.example/\nSuites: bookworm-security\nComponents: main\n"
    )
    (parts / "other.list").write_text("deb http://vendor.example/apt stable main\n")
    one_line, deb822 = source_entries(tmp_path, "bookworm")
    assert one_line == (
        ".list",
        "deb-src [signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib\n",
    )
    assert deb822[0] == ".sources"
    assert deb822[1].splitlines() == [
        "Types: deb-src",
        "URIs: http://a.example/debian",
        "Suites: bookworm bookworm-updates",
        "Components: main",
        "Signed-By: /k.gpg",
    ]
