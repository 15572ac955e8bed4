from __future__ import annotations

from pathlib import Path

from determinism.attribution.clue import Circumstances
from determinism.learning import alike, helpful
from tests.determinism.made import BEGUN, ENDED, INSIDE, run, twice, written
from tests.determinism.test_canonical import gzipped

RUN = Circumstances(begun=BEGUN, ended=ENDED, root="/b/0123456789abcdef")


def mapped(folder: Path) -> bytes:
    written(folder / "a.c", "int main(void) { return 0; }\n")
    run("gcc", "a.c", "-Wl,-Map,a.map", "-o", "a", cwd=folder)
    return (folder / "a.map").read_bytes()


def test_what_would_make_two_linker_maps_the_same_helps(tmp_path: Path) -> None:
    first, then = twice(lambda: mapped(tmp_path))
    assert first != then
    assert helpful("a.map", first, then, RUN, RUN) == {"linker map"}


def test_what_is_applied_unasked_need_not_be_learned() -> None:
    first, then = gzipped(time=INSIDE), gzipped(time=INSIDE + 1)
    assert helpful("a.gz", first, then, RUN, RUN) == set()


def test_a_format_that_leaves_the_difference_does_not_help(tmp_path: Path) -> None:
    made = mapped(tmp_path)
    other = made.replace(b"main", b"mean")
    assert helpful("a.map", made, other, RUN, RUN) == set()
    assert helpful("a.txt", b"some text", b"other text", RUN, RUN) == set()


def test_what_differs_in_times_of_the_runs_alone_is_alike() -> None:
    first, then = gzipped(time=INSIDE), gzipped(time=INSIDE + 1)
    assert alike("a.gz", first, first, RUN, RUN)
    assert alike("a.gz", first, then, RUN, RUN)
    unknown = Circumstances(begun=0, ended=0)
    assert not alike("a.gz", first, then, RUN, unknown)


def test_what_differs_in_anything_else_is_not_alike(tmp_path: Path) -> None:
    made = mapped(tmp_path)
    assert not alike("a.map", made, made.replace(b"main", b"mean"), RUN, RUN)
    assert not alike("a.txt", b"some text", b"other text", RUN, RUN)
    assert not alike("a.gz", gzipped(time=INSIDE), b"some text", RUN, RUN)
