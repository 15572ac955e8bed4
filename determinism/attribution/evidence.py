"""What bytes that differ look like, beside the times that they may hold."""

from __future__ import annotations

import re
from collections.abc import Iterator

from determinism.attribution.clue import NOTHING, Circumstances, Clue
from determinism.attribution.place import Sample
from determinism.attribution.text import is_text
from determinism.difference import Cause

_TEMPORARY = tuple(
    re.compile(pattern)
    for pattern in (
        rb"(?<![A-Za-z0-9])cc[A-Za-z0-9]{6}(?![A-Za-z0-9])",
        rb"(?<![A-Za-z0-9])\.?tmp[._-]?[A-Za-z0-9_]{6,12}(?![A-Za-z0-9])",
        rb"(?<![A-Za-z0-9])(?:rustc|rmeta)[A-Za-z0-9]{6}(?![A-Za-z0-9])",
        rb"/tmp/[\w./-]*?[A-Za-z0-9]{6,}",
        rb"[\w.]+-[0-9a-f]{6,8}\.(?:o|s|bc|ll|d|tmp)\b",
    )
)
_WITH_PID = re.compile(rb"tmpxft_[0-9a-f]{8}_[0-9a-f]{8}|/proc/\d+|pid[-=: _]*\d+", re.IGNORECASE)
_UUID4 = re.compile(
    rb"[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}", re.IGNORECASE
)
_ADDRESS = re.compile(
    rb"(?:0x0*|\b)(?:7[ef][0-9a-f]{10}|5[56][0-9a-f]{10})\b|\bat 0x[0-9a-f]{6,}", re.IGNORECASE
)
_HEX = re.compile(rb"(?<![0-9A-Za-z])[0-9a-fA-F]{16,}(?![0-9A-Za-z])")
_TOKEN = re.compile(rb"(?<![0-9A-Za-z])(?=[a-z]*\d)(?=\d*[A-Za-z])[0-9A-Za-z]{8,}(?![0-9A-Za-z])")
_NUMBER = re.compile(rb"(?<![\w.])\d{1,7}(?![\w.])")
_DECIMAL = re.compile(rb"\d+(?:\.\d+)?")
_KERNEL = re.compile(rb"\b\d+\.\d+\.\d+(?:[-+.][\w.]+)*")
_DIGEST_LENGTHS = {32, 40, 56, 64, 96, 128}
_SUMS = re.compile(rb"(?:sha\d*|md5|crc\d*|sum|digest|integrity|hash|build.?id)\W*$", re.IGNORECASE)
_DURATIONS = re.compile(
    r"(?:^|[^a-z])(?:time\w*|\w*stamp|date|dur|duration|elapsed|ts|took|clock|built|uptime|seconds?"
    r"|m?sec|ms|began|begun|started|finished|\w+time)(?:[^a-z]|$)",
    re.IGNORECASE,
)
_DURATION_REACH = 32  # bytes before a number in which it is said what it counts
MAX_PID = 1 << 22  # Linux: PID_MAX_LIMIT
_RANDOM_BYTES = 8
_MOST_RANDOM_BYTES = 4096


def clues(sample: Sample, part: str, first: Circumstances, then: Circumstances) -> Iterator[Clue]:
    """Yield what one difference suggests. part: name of the section, member or line it is in."""
    yield _root(sample, first, then)
    yield _host(sample, first, then)
    yield _names(sample)
    yield _address(sample)
    yield _counted(sample, part)
    yield _random_text(sample)
    yield _random_bytes(sample)
    yield _number(sample, first, then)


def _root(sample: Sample, first: Circumstances, then: Circumstances) -> Clue:
    if first.root == then.root or not first.root or not then.root:
        return NOTHING
    pairs = zip(_spellings(first.root), _spellings(then.root), strict=False)
    if any(_touches(sample, one, other) for one, other in pairs):
        return Clue(90, Cause.PATH, f"holds the input root: {first.root} and {then.root}")
    return NOTHING


def _spellings(root: str) -> list[bytes]:
    """Return a path as it is written, in UTF-16, with other separators, and its last component."""
    path = root.encode()
    bare = path.strip(b"/")
    flat = [bare.replace(b"/", between) for between in (b"#", b"_", b"-", b"\\", b"\\/")]
    last = bare.rpartition(b"/")[2]
    return [path, root.encode("utf-16-le"), *flat, *([last] if len(last) > 5 else [])]  # noqa: PLR2004


def _touches(sample: Sample, one: bytes, other: bytes) -> bool:
    """Tell whether each side has its own of two texts where they differ."""
    return all(
        (at := data.find(wanted, max(0, start - len(wanted)))) >= 0 and at <= end
        for (data, start, end), wanted in ((sample[:3], one), (sample[3:], other))
    )


def _host(sample: Sample, first: Circumstances, then: Circumstances) -> Clue:
    names = first.host_name.encode(), then.host_name.encode()
    if all(names) and names[0] != names[1] and _touches(sample, *names):
        shown = f"{first.host_name} and {then.host_name}"
        return Clue(75, Cause.HOST, f"holds the name of the host: {shown}")
    if first.worker != then.worker and _both(_KERNEL, sample):
        return Clue(35, Cause.HOST, "a version that differs between workers, as a kernel's does")
    return NOTHING


def _names(sample: Sample) -> Clue:
    if pair := _both(_WITH_PID, sample):
        return Clue(80, Cause.PID, f"a name made with a process number: {_shown(pair)}")
    for pattern in _TEMPORARY:
        if pair := _both(pattern, sample):
            return Clue(80, Cause.RANDOM, f"name of a temporary file: {_shown(pair)}")
    if pair := _both(_UUID4, sample):
        return Clue(75, Cause.RANDOM, f"a random UUID: {_shown(pair)}")
    return NOTHING


def _address(sample: Sample) -> Clue:
    if pair := _both(_ADDRESS, sample):
        return Clue(70, Cause.ADDRESSES, f"an address in memory: {_shown(pair)}")
    for low in range(max(0, sample.start - 7), min(sample.end, sample.start + 64)):
        at = low - sample.start + sample.then_start
        if at < 0:
            continue
        one = int.from_bytes(sample.first[low : low + 8], "little")
        other = int.from_bytes(sample.then[at : at + 8], "little")
        if (one ^ other) & 0xFFFFF000 and _is_address(one) and _is_address(other):
            alike = one & 0xFFF == other & 0xFFF
            weight, why = (70, " of one place in a page") if alike else (45, "")
            return Clue(
                weight, Cause.ADDRESSES, f"addresses in memory{why}: {one:#x} and {other:#x}"
            )
    return NOTHING


def _is_address(value: int) -> bool:
    """Tell whether a value lies where Linux puts stacks and libraries, or programs, on x86-64."""
    return value >> 40 in {0x7E, 0x7F, 0x55, 0x56}


def _counted(sample: Sample, part: str) -> Clue:
    pair = _both(_DECIMAL, sample)
    if not pair:
        return NOTHING
    before = sample.first[: sample.start].decode("latin-1")[-_DURATION_REACH:]
    key = part.rpartition("/")[2]
    if _DURATIONS.search(key) or _DURATIONS.search(before.rpartition("\n")[2]):
        return Clue(60, Cause.TIME, f"a number that says how long or when: {_shown(pair)}")
    return NOTHING


def _random_text(sample: Sample) -> Clue:
    if _SUMS.search(sample.first[: sample.start].rstrip(b"0123456789abcdefABCDEF")):
        return NOTHING
    if pair := _both(_HEX, sample):
        sum_like = len(pair[0]) in _DIGEST_LENGTHS
        weight = 25 if sum_like else 45
        return Clue(weight, Cause.RANDOM, f"hexadecimal without a pattern: {_shown(pair)}")
    pair = _both(_TOKEN, sample)
    if pair and len(pair[0]) == len(pair[1]) and _changed_part(*pair) > 0.5:  # noqa: PLR2004
        return Clue(35, Cause.RANDOM, f"letters and digits without a pattern: {_shown(pair)}")
    return NOTHING


def _random_bytes(sample: Sample) -> Clue:
    one = sample.first[sample.start : sample.end]
    other = sample.then[sample.then_start : sample.then_end]
    if len(one) != len(other) or not _RANDOM_BYTES <= len(one) <= _MOST_RANDOM_BYTES:
        return NOTHING
    scattered = min(len(set(one)), len(set(other))) >= 0.7 * min(len(one), 64)
    if scattered and _changed_part(one, other) > 0.9 and not (one + other).isascii():  # noqa: PLR2004
        return Clue(40, Cause.RANDOM, f"{len(one)} bytes without a pattern")
    return NOTHING


def _number(sample: Sample, first: Circumstances, then: Circumstances) -> Clue:
    pair = _both(_NUMBER, sample)
    if not pair or not (is_text(sample.first) and is_text(sample.then)):
        return NOTHING
    values = int(pair[0]), int(pair[1])
    if first.worker != then.worker and max(values) <= 1024:  # noqa: PLR2004
        return Clue(32, Cause.HOST, f"a small number, as of processors: {_shown(pair)}")
    if min(values) > 0 and max(values) < MAX_PID:
        return Clue(30, Cause.PID, f"a number, as of processes: {_shown(pair)}")
    return NOTHING


def random_name(name: str) -> Clue:
    """Tell whether a file's name looks drawn by lot."""
    data = name.encode()
    whole = Sample(data, 0, len(data), data, 0, len(data))
    if (clue := _names(whole)).weight:
        return clue
    if (match := _TOKEN.search(data) or _HEX.search(data)) is not None:
        return Clue(40, Cause.RANDOM, f"a name without a pattern: {_text(match[0])}")
    return NOTHING


def _both(pattern: re.Pattern[bytes], sample: Sample) -> tuple[bytes, bytes] | None:
    """Return what `pattern` matches where they differ; None if not on both sides, or the same."""
    one = _touching(pattern, *sample[:3])
    other = _touching(pattern, *sample[3:])
    if one is None or other is None or one == other:
        return None
    return one, other


def _touching(pattern: re.Pattern[bytes], data: bytes, start: int, end: int) -> bytes | None:
    for match in pattern.finditer(data):
        if match.start() < max(end, start + 1) and match.end() >= start and match.end() > 0:
            return match[0]
    return None


def _changed_part(one: bytes, other: bytes) -> float:
    return sum(a != b for a, b in zip(one, other, strict=True)) / len(one)


def _shown(pair: tuple[bytes, bytes]) -> str:
    return " and ".join(_text(each) for each in pair)


def _text(data: bytes) -> str:
    return data[:80].decode(errors="replace")
