from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
import zipfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from cas.digest import Digest, DigestFunction
from determinism.canonical import (
    MAX_FILE_BYTES,
    WINDOW_SECONDS,
    Circumstances,
    Examined,
    Extent,
    Output,
    Rewritten,
    Selection,
    canonicalise,
    examine,
)
from determinism.rewriting import READ_BYTES
from tests.determinism.made import BEFORE, BEGUN, ENDED, INSIDE, run, written

TEXT = b"the quick brown fox jumps over the lazy dog\n" * 50
MIB = 1 << 20
HARMLESS, EVERYTHING = Selection(), Selection(how=Extent.EVERYTHING)


def circumstances(*, inputs: Collection[Digest] = (), seen_root: str = "") -> Circumstances:
    return Circumstances(
        begun=BEGUN,
        ended=ENDED,
        root="/b/0123456789abcdef",
        seen_root=seen_root,
        inputs=inputs,
        input_text=lambda text: False,
    )


def done(
    *paths: Path,
    selection: Selection = HARMLESS,
    inputs: Collection[Digest] = (),
) -> list[Rewritten]:
    outputs = [Output(path, path.name) for path in paths]
    return canonicalise(outputs, selection, circumstances(inputs=inputs))


def formats(rewritten: Sequence[Rewritten]) -> dict[str, tuple[str, ...]]:
    return {each.name: each.formats for each in rewritten}


def gzipped(data: bytes = TEXT, time: int = INSIDE) -> bytes:
    made = gzip.compress(data, mtime=INSIDE)
    return made[:4] + time.to_bytes(4, "little") + made[8:]


def tar(members: dict[str, bytes], time: int = INSIDE) -> bytes:
    made = io.BytesIO()
    with tarfile.open(mode="w", fileobj=made, format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), time
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def time_of(data: bytes) -> int:
    return int.from_bytes(data[4:8], "little")


def test_a_file_is_rewritten_in_place_and_told(tmp_path: Path) -> None:
    file = written(tmp_path / "out", gzipped())
    inode = file.stat().st_ino
    assert done(file) == [Rewritten("out", ("gzip",), Digest.of(gzipped()), 4)]
    assert file.stat().st_ino == inode
    assert file.read_bytes() == gzipped(time=0)
    assert done(file) == []


def test_two_runs_at_two_times_give_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for time in (INSIDE, INSIDE + 1):
        data = gzipped(tar({"a": gzipped(b"a", time)}, time), time)
        files.append(written(tmp_path / str(time), data))
    assert all(each == ("gzip", "tar") for each in formats(done(*files)).values())
    assert files[0].read_bytes() == files[1].read_bytes()


def test_members_of_members_are_rewritten(tmp_path: Path) -> None:
    jar = io.BytesIO()
    with zipfile.ZipFile(jar, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("x.tar", (2020, 1, 1, 0, 0, 0)), tar({"a": TEXT}))
    file = written(tmp_path / "out", tar({"x.jar": jar.getvalue(), "b": TEXT}, BEFORE))
    assert formats(done(file)) == {"out": ("tar", "zip")}
    with tarfile.open(file) as outer:
        member = outer.extractfile("x.jar")
        assert member is not None
        with zipfile.ZipFile(io.BytesIO(member.read())) as archive:
            assert archive.read("x.tar") == tar({"a": TEXT}, 0)


def test_a_member_that_cannot_change_where_it_stands_is_not_told_of(tmp_path: Path) -> None:
    # Compressed again it has another length, and in a tar file nothing is moved.
    inner = gzipped(tar({"a": TEXT}), 0)
    data = tar({"a.tgz": inner}, BEFORE - 10)
    file = written(tmp_path / "out", data)
    assert done(file) == []
    assert file.read_bytes() == data


def nested(depth: int) -> bytes:
    data = gzipped(time=INSIDE)
    for _ in range(depth):
        data = tar({"member": data}, BEFORE - 10)
    return data


@pytest.mark.parametrize(("depth", "expected"), [(1, True), (3, True), (4, False)])
def test_members_are_looked_at_to_a_depth(tmp_path: Path, depth: int, *, expected: bool) -> None:
    file = written(tmp_path / "out", nested(depth))
    assert bool(done(file)) == expected


@pytest.mark.parametrize("mode", [0o644, 0o755, 0o600, 0o444, 0o4711])
@pytest.mark.parametrize("links", [1, 2])
def test_the_mode_is_kept(tmp_path: Path, mode: int, links: int) -> None:
    file = written(tmp_path / "out", gzipped(), mode)
    if links > 1:
        (tmp_path / "link").hardlink_to(file)
    assert formats(done(file)) == {"out": ("gzip",)}
    assert stat.S_IMODE(file.stat().st_mode) == mode


def test_a_hard_link_to_the_old_file_is_not_changed(tmp_path: Path) -> None:
    file = written(tmp_path / "out", gzipped())
    link = tmp_path / "link"
    link.hardlink_to(file)
    assert formats(done(file)) == {"out": ("gzip",)}
    assert link.read_bytes() == gzipped()
    assert not link.samefile(file)


def test_a_file_that_grows_is_replaced(tmp_path: Path) -> None:
    file = written(tmp_path / "out", gzipped(tar({"a": TEXT})), 0o750)
    assert formats(done(file)) == {"out": ("gzip", "tar")}
    assert gzip.decompress(file.read_bytes()) == tar({"a": TEXT}, 0)
    assert stat.S_IMODE(file.stat().st_mode) == 0o750
    assert list(tmp_path.iterdir()) == [file]


def test_large_files_are_mapped_and_rewritten_in_place(tmp_path: Path) -> None:
    data = tar({"a": os.urandom(3 * READ_BYTES), "b": TEXT})
    file = written(tmp_path / "out", data)
    assert formats(done(file)) == {"out": ("tar",)}
    with tarfile.open(file) as archive:
        assert [entry.mtime for entry in archive] == [0, 0]
    assert len(file.read_bytes()) == len(data)


def test_many_large_revisions_are_worked_out_twice_rather_than_held(tmp_path: Path) -> None:
    contents = tar({"a": os.urandom(23 * MIB)})
    data = gzip.compress(contents, 1, mtime=0)
    files = [written(tmp_path / str(number), data) for number in range(3)]
    assert len(done(*files)) == 3
    assert len({file.read_bytes() for file in files}) == 1
    assert files[0].read_bytes() != data


LEFT = {
    "an empty file": b"",
    "a byte": b"\x1f",
    "the magic alone": b"\x1f\x8b",
    "text": TEXT,
    "a file that is cut short": gzipped()[:-3],
    "garbage behind": gzipped() + b"garbage",
    "a time that is not of the action": gzipped(time=1),
    "two members, of which the first has no time": gzipped(b"a", 0) + gzipped(b"b", 0),
}


@pytest.mark.parametrize("data", LEFT.values(), ids=LEFT.keys())
def test_other_files_are_left_untouched(tmp_path: Path, data: bytes) -> None:
    file = written(tmp_path / "out", data)
    before = file.stat()
    assert done(file, selection=EVERYTHING) == []
    assert file.read_bytes() == data
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (int(BEGUN) - WINDOW_SECONDS, 1),
        (int(BEGUN) - WINDOW_SECONDS - 1, 0),
        (int(ENDED) + WINDOW_SECONDS, 1),
        (int(ENDED) + WINDOW_SECONDS + 1, 0),
    ],
)
def test_the_window_is_the_actions_and_two_seconds_around_it(
    tmp_path: Path, time: int, expected: int
) -> None:
    assert len(done(written(tmp_path / "out", gzipped(time=time)))) == expected


def test_a_file_over_the_bound_is_left(tmp_path: Path) -> None:
    file = written(tmp_path / "out", gzipped())
    os.truncate(file, MAX_FILE_BYTES + 1)
    assert done(file) == []
    with file.open("rb") as read:
        assert time_of(read.read(10)) == INSIDE


@pytest.mark.parametrize("name", ["out.gz", "x" * 255, "\N{SNOWMAN}" * 85, "-", "a b\n"])
@pytest.mark.parametrize("data", [gzipped(), gzipped(tar({"a": TEXT}))], ids=["same", "grows"])
def test_any_name_will_do_and_nothing_is_left_beside(
    tmp_path: Path, name: str, data: bytes
) -> None:
    file = written(tmp_path / name, data)
    assert len(done(file)) == 1
    assert list(tmp_path.iterdir()) == [file]


def test_files_of_the_action_beside_it_are_not_touched_or_followed(tmp_path: Path) -> None:
    # An action that guesses the name of the new file could have it written somewhere else.
    folder = tmp_path / "outputs"
    folder.mkdir()
    elsewhere = written(tmp_path / "elsewhere", b"not the action's")
    file = written(folder / "out", gzipped(tar({"a": TEXT})))
    for name in [".out.canonical", ".canonical-", "out.new", "out.tmp", ".out"]:
        (folder / name).symlink_to(elsewhere)
    before = {entry.name for entry in folder.iterdir()}
    assert len(done(file)) == 1
    assert elsewhere.read_bytes() == b"not the action's"
    assert {entry.name for entry in folder.iterdir()} == before
    assert file.is_file()
    assert not file.is_symlink()


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be a user who may not write to what others own, while the block runs."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_may_not_be_written_to_is_left(tmp_path: Path) -> None:
    same = written(tmp_path / "same", gzipped(), 0o444)
    grows = written(tmp_path / "grows", gzipped(tar({"a": TEXT})), 0o444)
    before = same.read_bytes(), grows.read_bytes()
    tmp_path.chmod(0o555)
    with chdir(tmp_path), unprivileged():
        assert done(Path("same"), Path("grows")) == []
    assert (same.read_bytes(), grows.read_bytes()) == before
    assert {entry.name for entry in tmp_path.iterdir()} == {"same", "grows"}


@pytest.mark.parametrize("function", list(DigestFunction))
def test_an_input_that_is_passed_on_is_left(tmp_path: Path, function: DigestFunction) -> None:
    passed = written(tmp_path / "passed", gzipped())
    made = written(tmp_path / "made", gzipped(b"made"))
    inputs = {Digest.of(gzipped(), function), Digest.of(b"other", function)}
    told = done(passed, made, inputs=inputs)
    assert formats(told) == {"made": ("gzip",)}
    assert told[0].before == Digest.of(gzipped(b"made"), function)
    assert passed.read_bytes() == gzipped()


def test_a_file_whose_checksum_is_another_output_is_left(tmp_path: Path) -> None:
    file = written(tmp_path / "out.gz", gzipped())
    other = written(tmp_path / "other.gz", gzipped(b"other"))
    sums = written(tmp_path / "SUMS", run("sha256sum", "out.gz", cwd=tmp_path))
    assert formats(done(sums, file, other)) == {"other.gz": ("gzip",)}
    run("sha256sum", "--check", "SUMS", cwd=tmp_path)
    # Alone, or where only itself would be changed, nobody compares it.
    assert formats(done(file)) == {"out.gz": ("gzip",)}


def test_a_file_whose_digest_is_in_a_name_is_left(tmp_path: Path) -> None:
    name = f"app.{hashlib.md5(gzipped()).hexdigest()}.gz"
    file = written(tmp_path / name, gzipped())
    assert done(file) == []
    split = hashlib.sha256(gzipped()).hexdigest()
    outputs = [
        Output(written(tmp_path / "a", gzipped()), "objects/a"),
        Output(written(tmp_path / "b", b""), f"index/{split[:2]}/{split[2:]}"),
    ]
    assert canonicalise(outputs, Selection(), circumstances()) == []


def test_an_archive_whose_contents_have_their_digest_in_another_output_is_left(
    tmp_path: Path,
) -> None:
    # As images of containers: the configuration has the digests of layers that are compressed.
    layer = tar({"a": TEXT})
    file = written(tmp_path / "layer.tar.gz", gzipped(layer))
    diff_ids = {"rootfs": {"diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}}
    config = written(tmp_path / "config.json", json.dumps(diff_ids))
    assert done(file, config) == []
    assert file.read_bytes() == gzipped(layer)


def test_outputs_with_the_same_bytes_are_rewritten_alike(tmp_path: Path) -> None:
    files = [written(tmp_path / name, gzipped()) for name in ("a", "b")]
    assert len(done(*files)) == 2
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_build_id_that_stands_in_another_output_is_kept(tmp_path: Path) -> None:
    written(tmp_path / "main.c", "int main(void) { return 0; }\n")
    selection = Selection(formats=frozenset({"elf image"}))
    run("gcc", "-g", "-Wl,--build-id=uuid", "main.c", "-o", "main", cwd=tmp_path)
    run("objcopy", "--only-keep-debug", "main", "main.debug", cwd=tmp_path)
    main, debug = tmp_path / "main", tmp_path / "main.debug"
    before = main.read_bytes()
    assert done(main, debug, selection=selection) == []
    assert main.read_bytes() == before
    assert formats(done(main, selection=selection)) == {"main": ("elf image",)}
    assert main.read_bytes() != before


def test_what_is_examined_is_what_would_be_done(tmp_path: Path) -> None:
    file = written(tmp_path / "out", gzipped())
    passed = written(tmp_path / "passed", gzipped(b"passed on"))
    broken = written(tmp_path / "broken", gzipped()[:-1])
    outputs = [Output(path, path.name) for path in (file, passed, broken)]
    seen = circumstances(inputs=[Digest.of(gzipped(b"passed on"))])
    examined = examine(outputs, Selection(), seen)
    assert examined[0] == Examined(outputs[0], ("gzip",), 1, 4, ())
    assert examined[1].declined == (("", "it is an input that was passed on"),)
    assert examined[2].declined == (("gzip", "the last member is cut short"),)
    assert file.read_bytes() == gzipped()


@settings(max_examples=60, deadline=None, database=None)
@given(data=strategies.data())
def test_whatever_archives_hold_it_is_done_in_one_go(
    tmp_path_factory: pytest.TempPathFactory, data: strategies.DataObject
) -> None:
    leaves = strategies.binary(max_size=600) | strategies.just(TEXT)
    times = strategies.sampled_from([0, BEFORE, INSIDE])
    made = strategies.recursive(
        leaves,
        lambda inner: (
            strategies.builds(gzipped, inner, times)
            | strategies.builds(
                tar, strategies.dictionaries(strategies.sampled_from("abc"), inner), times
            )
        ),
        max_leaves=6,
    )
    folder = tmp_path_factory.mktemp("case")
    files = [written(folder / str(number), data.draw(made)) for number in range(data.draw(_COUNTS))]
    before = [file.read_bytes() for file in files]
    told = {each.name for each in done(*files, selection=EVERYTHING)}
    changed = {
        file.name for file, old in zip(files, before, strict=True) if file.read_bytes() != old
    }
    assert told == changed
    assert done(*files, selection=EVERYTHING) == []


_COUNTS = strategies.integers(1, 3)
