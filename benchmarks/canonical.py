"""What bringing outputs into canonical form costs, beside making and reading them."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.corpus import MIB
from benchmarks.table import Table
from determinism.canonical import Circumstances, Extent, Output, Selection, canonicalise

FUNCTIONS = 100  # of the C file, some 45 kB when it is compiled
MEMBERS = 20_000
EVERYTHING = Selection(how=Extent.EVERYTHING)
CHUNK_BYTES = 1 << 20


def run(
    folder: Path, *, functions: int = FUNCTIONS, size: int = 256 * MIB, rounds: int = 5
) -> list[Table]:
    """Measure. functions: of the C file. size: in bytes, of files that decline."""
    return [_beside_compiling(folder, functions, rounds), _declining(folder, size, rounds)]


def _beside_compiling(folder: Path, functions: int, rounds: int) -> Table:
    table = Table(
        "Canonical form beside the action",
        f"A C file of {functions:,} functions: what gcc and its tools take to make the outputs, "
        "and what it takes to bring these into canonical form, with every format on. The bar is "
        "10 % of a compilation. Contents that are compressed again cost what compressing them did, "
        "twice: once to know the encoder. Medians.",
        ["action, ms", "canonical form, ms", "%"],
    )
    source = folder / "source.c"
    source.write_text("".join(_function(number) for number in range(functions)))
    actions = {
        "gcc -O2 -c -MD": "gcc -O2 -c -MD source.c -o out.o -MF out.d",
        "gcc -O2 -g -c": "gcc -O2 -g -c source.c -o out.o",
        "gcc -shared, build-id": "gcc -O2 -g -fPIC -shared -Wl,--build-id source.c -o out.so",
        "gcc -c, and ar": "gcc -O2 -c source.c -o out.o && rm -f out.a && ar rcU out.a out.o",
        "tar and gzip": "for i in 1 2 3 4; do cp source.c $i.c; done && tar czf out.tgz *.c",
    }
    for name, command in actions.items():
        times = [_action(folder, command) for _ in range(rounds)]
        made, canonical = (median(each) for each in zip(*times, strict=True))
        table.rows[name] = [1000 * made, 1000 * canonical, 100 * canonical / made]
    return table


def _function(number: int) -> str:
    return (
        f"int function_{number}(int *values, int count) {{\n"
        f"  int sum = {number};\n"
        "  for (int at = 0; at < count; at++) sum += values[at] * sum ^ (at << 3);\n"
        "  return sum;\n}\n"
    )


def _action(folder: Path, command: str) -> tuple[float, float]:
    """Run a command; return its seconds, and those that its outputs' canonical form takes."""
    begin = time.time()
    started = time.monotonic()
    subprocess.run(["/bin/sh", "-c", command], cwd=folder, check=True)
    made = time.monotonic() - started
    outputs = [Output(path, path.name) for path in sorted(folder.glob("out.*"))]
    seconds = _seconds(lambda: canonicalise(outputs, EVERYTHING, _circumstances(begin)))
    for output in outputs:
        output.path.unlink()
    return made, seconds


def _circumstances(begun: float) -> Circumstances:
    return Circumstances(
        begun=begun,
        ended=time.time(),
        root="/b/0123456789abcdef",
        seen_root="",
        inputs=(),
        input_text=lambda text: False,
    )


def _seconds(work: Callable[[], object]) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def _declining(folder: Path, size: int, rounds: int) -> Table:
    table = Table(
        "Files that are left",
        f"Files of {size / MIB:.0f} MiB that a format recognises, looks at and leaves, with every "
        "format on, beside reading them in parts of 1 MiB from the page cache; by the processor's "
        "time. The bar is 500 MB/s. Medians.",
        ["left, MB/s", "read, MB/s", "left / read, seconds"],
    )
    for name, make in DECLINING.items():
        file = folder / "declining"
        make(file, size)
        outputs = [Output(file, "output")]
        bytes = file.stat().st_size
        times = []
        for _ in range(rounds):
            begin = time.process_time()
            _read(file)
            between = time.process_time()
            _leave(outputs)
            times.append((time.process_time() - between, between - begin))
        left, read = (median(each) for each in zip(*times, strict=True))
        table.rows[name] = [bytes / left / 1e6, bytes / read / 1e6, left / read]
        file.unlink()
    return table


def _leave(outputs: list[Output]) -> None:
    if canonicalise(outputs, EVERYTHING, _circumstances(time.time() - 3600)):
        raise RuntimeError("the file was rewritten")


def _read(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(CHUNK_BYTES):
            pass


def _tar(path: Path, size: int, *, member_bytes: int) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        noise = os.urandom(member_bytes)
        for number in range(max(1, size // member_bytes)):
            entry = tarfile.TarInfo(f"member-{number}")
            entry.size = member_bytes
            archive.addfile(entry, io.BytesIO(noise))
    _append(path, b"something behind the end")


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def _zip(path: Path, size: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(MEMBERS):
            archive.writestr(zipfile.ZipInfo(f"member-{number}"), os.urandom(size // MEMBERS))
        archive.writestr("META-INF/ME.SF", b"signed")


def _ar(path: Path, size: int) -> None:
    member_bytes = size // 256
    header = b"%-16b%-12d%-6d%-6d%-8b%-10d`\n"
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for number in range(256):
            name = b"%d.o/" % number
            file.write(header % (name, time.time(), 0, 0, b"100644", member_bytes))
            file.write(os.urandom(member_bytes))
        file.write(b"something behind the end")


def _gzip(path: Path, size: int) -> None:
    stamp = struct.pack("<I", int(time.time()))
    path.write_bytes(b"\x1f\x8b\x08\x20" + stamp + b"\0\3" + os.urandom(size))


def _old_gzip(path: Path, size: int) -> None:
    plain = path.with_suffix(".plain")
    plain.write_bytes(os.urandom(size))
    with path.open("wb") as out:
        subprocess.run(["gzip", "-1nc", plain], stdout=out, check=True)
    plain.unlink()


def _elf(path: Path, size: int) -> None:
    source = path.with_suffix(".c")
    source.write_text(f"char data[{size}] = {{1}}; int main(void) {{ return data[0]; }}\n")
    subprocess.run(["gcc", "-Wl,--build-id=none", source, "-o", path], check=True)
    source.unlink()


def _text(path: Path, size: int) -> None:
    path.write_bytes(b"Memory Configuration\n" + b"plain text, and nothing in it\n" * (size // 30))


def _random(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(max(1, size // MIB)):
            file.write(os.urandom(MIB))


DECLINING: dict[str, Callable[[Path, int], None]] = {
    "tar of 1 MiB members, garbage behind": lambda path, size: _tar(path, size, member_bytes=MIB),
    "tar of 16 kB members, garbage behind": lambda path, size: _tar(
        path, size, member_bytes=16_000
    ),
    f"zip of {MEMBERS:,} members, signed": _zip,
    "ar of 256 members, garbage behind": _ar,
    "gzip with a reserved flag": _gzip,
    "gzip without a time": _old_gzip,
    "ELF program without a build-id": _elf,
    "text that begins like a linker map": lambda path, size: _text(path, min(size, 48 * MIB)),
    "random bytes": _random,
}
