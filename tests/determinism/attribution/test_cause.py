from __future__ import annotations

import struct
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings as examples, strategies as st

from determinism.attribution.cause import attributed, clue_for, likeliest
from determinism.attribution.clue import Circumstances
from determinism.difference import Cause
from determinism.outcome import Difference
from tests.determinism.attribution.runs import NOW, C, Ran, cause, circumstances, explained, run

FILES = {f"d/{name}": name for name in ("one", "two", "three", "four", "five")}


def told(
    first: bytes, then: bytes, one: Circumstances, other: Circumstances, where: str = "out"
) -> Cause:
    places = attributed(Difference(where, "1/1", "2/2"), first, then, one, other)
    return likeliest(places)[0]


@pytest.mark.parametrize(
    ("script", "name", "expected"),
    [
        ("gcc -E $PWD/a.c -o out", "out", Cause.PATH),
        ("gcc -g -c a.c -o out", "out", Cause.PATH),
        ("gcc --coverage -c a.c -o a.o", "a.o", Cause.PATH),
        ('printf \'{"cwd":"%s"}\' $PWD > out', "out", Cause.PATH),
        ("uuidgen -r > out", "out", Cause.RANDOM),
        ("head -c 64 /dev/urandom > out", "out", Cause.RANDOM),
        ("mktemp -u > out", "out", Cause.RANDOM),
        ("gcc a.c -o a.exe -Wl,-Map=out", "out", Cause.RANDOM),
        ("gcc -g -pie -fPIE a.c -o a.exe; echo $$ > out", "out", Cause.PID),
        ("python3 -c 'print(object())' > out", "out", Cause.ADDRESSES),
        ("gcc -x c-header a.c -o out", "out", Cause.ADDRESSES),
        ("python3 -c 'print({chr(n) for n in range(65, 90)})' > out", "out", Cause.HASH_SEED),
        ("sort -R names > out", "out", Cause.RACE),
    ],
)
def test_causes_are_told_of_what_real_tools_write(
    script: str, name: str, expected: Cause, tmp_path: Path
) -> None:
    inputs = {"a.c": C, "names": "".join(f"line {number}\n" for number in range(50))}
    first = run(script, tmp_path / "here", inputs)
    then = run(script, tmp_path / "elsewhere", inputs)
    assert cause(first, then, name) is expected


STAMPING = (
    "date > out",
    "date -R > out",
    "date -Iseconds > out",
    "date +%s > out",
    "date +%s%N > out",
    "date +%Y%m%dT%H%M%SZ > out",
    "date '+%b %d %Y %H:%M:%S' > out",
    "date +%T > out",
    "TZ=Asia/Kolkata date '+%F %T' > out",
    "uuidgen -t > out",
    "echo a > a; zip -q out a; mv out.zip out",
    "echo a > a; tar -cf out a",
    "echo a > a; ar rcU out a",
    "echo a > a; echo a | cpio -o --quiet -H newc > out",
    'python3 -c \'import gzip; gzip.open("out", "w").write(b"a")\'',
    'python3 -c \'import marshal, time; marshal.dump(time.time(), open("out", "wb"))\'',
    "gcc --coverage -c a.c -o a.o; mv a.gcno out",
    "sqlite3 out \"create table t(a); insert into t values(datetime('now'))\"",
    "convert -size 8x8 xc:red png:out",
)
CLOCK_GRAIN_SECONDS = 2.1  # zip's is the coarsest of these


@pytest.fixture(scope="module")
def stamped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Ran, Ran]]:
    """Return what each of STAMPING leaves, before and after clocks went on."""
    folder = tmp_path_factory.mktemp("stamped") / "same"
    first = [run(script, folder, {"a.c": C}) for script in STAMPING]
    time.sleep(CLOCK_GRAIN_SECONDS)
    then = [run(script, folder, {"a.c": C}) for script in STAMPING]
    return dict(zip(STAMPING, zip(first, then, strict=True), strict=True))


@pytest.mark.parametrize("script", STAMPING)
def test_a_time_that_each_run_wrote_of_itself_is_found(
    script: str, stamped: dict[str, tuple[Ran, Ran]]
) -> None:
    assert cause(*stamped[script], "out") is Cause.TIME


def test_what_follows_from_a_time_is_said_to(tmp_path: Path) -> None:
    script = "printf '#include <stdio.h>\\nint main() { puts(\"%s\"); }' $(date +%s%N) > b.c; "
    script += "gcc -Wl,--build-id b.c -o out"
    first, then = (run(script, tmp_path / "same") for _ in range(2))
    places = {place.part: place for place in explained(first, then, "out")}
    assert places[".rodata"].cause is Cause.TIME
    assert places[".note.gnu.build-id"].cause is Cause.TIME
    assert places[".note.gnu.build-id"].evidence == "follows from what else differs"


SHAPES: dict[str, Callable[[float], bytes]] = {
    "dec": lambda at: b"%d" % at,
    "milli": lambda at: b"%d" % (at * 1000),
    "iso": lambda at: datetime.fromtimestamp(at, UTC).isoformat().encode(),
    "compact": lambda at: datetime.fromtimestamp(at, UTC).strftime("D:%Y%m%d%H%M%SZ").encode(),
    "ctime": lambda at: datetime.fromtimestamp(at, UTC).ctime().encode(),
    "little": lambda at: struct.pack("<I", int(at)),
    "big": lambda at: struct.pack(">I", int(at)),
    "wide": lambda at: struct.pack("<Q", int(at)),
    "nanoseconds": lambda at: struct.pack(">Q", int(at * 1e9)),
    "float": lambda at: struct.pack(">d", at),
    "filetime": lambda at: struct.pack("<Q", int((at + 11_644_473_600) * 10**7)),
    "octal": lambda at: b"%011o" % int(at),
    "uuid": lambda at: _uuid1(at).encode(),
}


def _uuid1(at: float) -> str:
    ticks = int((at + 12_219_292_800) * 10**7)
    fields = (ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0xFFF | 0x1000, 0x80, 1, 2)
    return str(uuid.UUID(fields=fields))


@examples(deadline=None)
@given(
    shape=st.sampled_from(sorted(SHAPES)),
    apart=st.floats(3, 10**7),
    inside=st.floats(0, 1),
    before=st.binary(max_size=40).map(lambda data: b"x" + data + b" "),
)
def test_a_time_within_each_run_is_found_in_every_shape(
    shape: str, apart: float, inside: float, before: bytes
) -> None:
    write = SHAPES[shape]
    first, then = (before + write(at + inside) + b"\0" * 8 for at in (NOW, NOW + apart))
    assert told(first, then, circumstances(), circumstances(NOW + apart)) is Cause.TIME


@examples(deadline=None)
@given(shape=st.sampled_from(sorted(SHAPES)), off=st.floats(100_000, 10**8))
def test_a_time_of_another_day_is_not_the_runs_own(shape: str, off: float) -> None:
    first, then = (b" " + SHAPES[shape](at - off) + b"\0" * 8 for at in (NOW, NOW + 50))
    assert told(first, then, circumstances(), circumstances(NOW + 50)) is not Cause.TIME


def test_local_times_of_other_zones_are_each_runs_own() -> None:
    first, then = (
        b'"POT-Creation-Date: %s\\n"\n' % at
        for at in (b"2026-11-22 23:37+0000", b"2026-11-22 17:23-0714")
    )
    assert told(first, then, circumstances(), circumstances(NOW + 30)) is Cause.TIME


def test_names_with_process_numbers_are_no_random_names() -> None:
    first, then = (b"/tmp/tmpxft_%08x_00000000-6_k" % number for number in (4711, 4807))
    assert told(first, then, circumstances(), circumstances()) is Cause.PID


def test_the_name_of_a_host_is_found() -> None:
    one, other = (circumstances(host_name=name, worker=name) for name in ("ant", "beetle"))
    assert told(b"built on ant", b"built on beetle", one, other) is Cause.HOST


def test_a_small_number_from_two_workers_may_be_their_processors() -> None:
    one, other = (circumstances(worker=name) for name in ("ant", "beetle"))
    assert told(b"jobs: 8\n", b"jobs: 64\n", one, other) is Cause.HOST


def test_other_rules_or_tools_explain_what_nothing_else_does() -> None:
    first, then = b"\1\2" * 30, b"\2\1" * 30
    plain = circumstances()
    assert told(first, then, plain, replace(plain, rules="zip.2")) is Cause.RULES
    known = replace(plain, toolchain="a")
    assert told(first, then, known, replace(plain, toolchain="b")) is Cause.TOOLCHAIN
    assert told(first, then, plain, plain) is Cause.UNKNOWN


def test_how_long_it_took_is_time() -> None:
    first, then = b'<testcase name="a" time="0.013"/>', b'<testcase name="a" time="0.017"/>'
    assert told(first, then, circumstances(), circumstances()) is Cause.TIME


def test_a_log_in_another_order_is_a_race_and_an_archive_one_of_listing(tmp_path: Path) -> None:
    first, then = (
        run(f"touch -d @1600000000 d/*; tar -cf out {names}; rm -r d", tmp_path / "same", FILES)
        for names in ("d/one d/two d/three", "d/three d/one d/two")
    )
    assert cause(first, then, "out") is Cause.ORDER
    log = b"built a\nbuilt b\nbuilt c\n", b"built b\nbuilt a\nbuilt c\n"
    assert told(*log, circumstances(), circumstances(), "stdout") is Cause.RACE


def test_an_output_of_one_run_alone_may_have_a_random_name() -> None:
    difference = Difference("out/s-hoemhza6ld-0a0lhvn/x.o", "ab/1", "")
    clue = clue_for(difference, b"x", None, circumstances(), circumstances())
    assert clue.cause is Cause.RANDOM


def test_contents_that_are_not_at_hand_have_an_unknown_cause() -> None:
    (place,) = attributed(
        Difference("out", "ab/1", "cd/1"), None, None, circumstances(), circumstances()
    )
    assert place.cause is Cause.UNKNOWN
