"""Goes through two versions of an output, format by format, and collects where they differ."""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from determinism.attribution import archive, compressed, elf, gcov, json, pe, png, tar, text, zip
from determinism.attribution.part import Part, Split, Unreadable
from determinism.attribution.spans import changed_strings, printable_around, spans
from determinism.difference import MAX_RANGES, MAX_TEXT, Attributed

MAX_WHOLE_BYTES = 64 << 20  # larger files are compared as bytes alone
MAX_INFLATED_BYTES = 64 << 20  # of all that is decompressed on one side
MAX_DEPTH = 5  # of formats in formats
MAX_PLACES = 20  # of one output
MAX_SAMPLES = 64  # of one place
CONTEXT_BYTES = 128  # on either side of a difference, for what it may mean
ABSENT = "absent in one run"  # the end of a place's part
_FEWEST_SHOWN = 4  # characters among bytes that are no text: fewer are a chance
MAX_SAMPLE_BYTES = 4096  # of a difference itself


class Sample(NamedTuple):
    """Bytes around a difference, in both; those from start to end (not included) differ."""

    first: bytes
    start: int
    end: int
    then: bytes
    then_start: int
    then_end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A place, and what its cause is told from.

    derived: it follows from other places. reordered: both have the same things there, in another
    order.
    """

    place: Attributed
    samples: tuple[Sample, ...] = ()
    derived: bool = False
    reordered: bool = False


class Known(NamedTuple):
    """A format: its name, what it begins like, how it is taken apart."""

    name: str
    matches: Callable[[bytes], bool]
    split: Split


def _starts(*magics: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(magics)


FORMATS = (
    Known("elf", _starts(elf.MAGIC), elf.split),
    Known("ar", _starts(archive.AR, archive.THIN), archive.split_ar),
    Known("cpio", _starts(archive.CPIO), archive.split_cpio),
    Known("png", _starts(png.MAGIC), png.split),
    Known("pe", _starts(pe.MAGIC), pe.split),
    Known("gzip", _starts(compressed.GZIP), compressed.split_gzip),
    Known("xz", _starts(compressed.XZ), compressed.split_xz),
    Known("bzip2", _starts(compressed.BZIP2), compressed.split_bzip2),
    Known("zstd", _starts(compressed.ZSTD), compressed.split_zstd),
    Known("gcov", _starts(*gcov.MAGICS), gcov.split),
    Known("tar", lambda data: data.startswith(tar.MAGIC, tar.MAGIC_AT), tar.split),
    Known("zip", zip.matches, zip.split),
    Known("pyc", lambda data: data[2:4] == b"\r\n", compressed.split_pyc),
    Known("json", _starts(b"{", b"["), json.split),
)


_Parts = dict[tuple[str, int], Part]


class _Pair(NamedTuple):
    """What two versions have in one place.

    base: where `first` begins in the output; None where it is in something compressed.
    extent: bytes of the output that hold it, compressed or not.
    """

    first: bytes
    then: bytes
    base: int | None
    extent: tuple[int, int]
    formats: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    derived: bool = False


@dataclass(slots=True)
class Walk:
    """whole: the output that is compared; what is found of it gets its parts and ranges."""

    whole: Attributed
    found: list[Found] = field(default_factory=list)
    _left: int = MAX_INFLATED_BYTES

    def compare(self, first: bytes, then: bytes) -> None:
        """Collect where two versions differ, in their order."""
        waiting = deque([_Pair(first, then, 0, (0, len(first)))])
        while waiting and len(self.found) < 2 * MAX_PLACES:
            pair = waiting.popleft()
            before = len(self.found)
            inner = self._parts(pair)
            waiting.extendleft(reversed(inner))
            if inner or len(self.found) > before:
                continue
            if all(len(each) <= text.MAX_BYTES and text.is_text(each) for each in pair[:2]):
                self._lines(pair)
            else:
                self._bytes(pair)

    def _parts(self, pair: _Pair) -> list[_Pair]:
        """Return the parts that differ; note those that only one has, and another order."""
        if len(pair.formats) >= MAX_DEPTH or max(map(len, pair[:2])) > MAX_WHOLE_BYTES:
            return []
        one, other = pair[:2]
        known = next((each for each in FORMATS if each.matches(one) and each.matches(other)), None)
        if known is None:
            return []
        try:
            ours, theirs = known.split(one, self._left), known.split(other, self._left)
        except (Unreadable, struct.error, IndexError):
            return []
        self._left = max(0, self._left - sum(map(_inflated, ours)))
        pair = pair._replace(formats=(*pair.formats, known.name))
        return self._matched(pair, ours, theirs)

    def _matched(self, pair: _Pair, ours: list[Part], theirs: list[Part]) -> list[_Pair]:
        one, other = _keyed(ours), _keyed(theirs)
        if pair.formats[-1] == "json":
            if Counter(part.data for part in ours) == Counter(part.data for part in theirs):
                return []  # the same values in another order, which is seen better in the text
        elif [key for key in one if key in other] != [key for key in other if key in one]:
            self._reordered(pair, ours, theirs)
        self._absent(pair, one, other)
        return [
            _inside(pair, part, other[key])
            for key, part in one.items()
            if key in other and part.data != other[key].data
        ]

    def _reordered(self, pair: _Pair, ours: list[Part], theirs: list[Part]) -> None:
        names = _members(part.name for part in ours), _members(part.name for part in theirs)
        self._add(pair, b"", b"", part="order", texts=names, reordered=True)

    def _absent(self, pair: _Pair, one: _Parts, other: _Parts) -> None:
        gone, new = (
            _members(part.name for key, part in ours.items() if key not in theirs)
            for ours, theirs in ((one, other), (other, one))
        )
        if gone or new:
            self._add(pair, b"", b"", part=ABSENT, texts=(gone, new))

    def _lines(self, pair: _Pair) -> None:
        for hunk in text.hunks(pair.first, pair.then, MAX_PLACES):
            ranges = (pair.extent,)
            if pair.base is not None:
                ranges = ((pair.base + hunk.start, pair.base + hunk.end),)
            self._add(
                pair,
                hunk.first,
                hunk.then,
                part=hunk.named if not pair.names or pair.first.count(b"\n") > 1 else "",
                ranges=ranges,
                reordered=hunk.reordered,
            )

    def _bytes(self, pair: _Pair) -> None:
        ranges: tuple[tuple[int, int], ...] = (pair.extent,)
        if pair.base is not None:
            differing = spans(pair.first, pair.then, MAX_RANGES)
            ranges = tuple((pair.base + one.start, pair.base + one.end) for one in differing)
        self._add(pair, pair.first, pair.then, ranges=ranges)

    def _add(
        self,
        pair: _Pair,
        first: bytes,
        then: bytes,
        *,
        part: str = "",
        ranges: tuple[tuple[int, int], ...] = (),
        texts: tuple[str, str] | None = None,
        reordered: bool = False,
    ) -> None:
        samples = samples_of(first, then)
        shown = texts or next(filter(any, (_texts(each) for each in samples)), ("", ""))
        self.found.append(
            Found(
                place=replace(
                    self.whole,
                    format=" > ".join(pair.formats) or self.whole.format,
                    part=" > ".join([*pair.names, *([part] if part else [])]),
                    ranges=ranges or (pair.extent,),
                    first_text=shown[0],
                    then_text=shown[1],
                ),
                samples=samples,
                derived=pair.derived,
                reordered=reordered,
            )
        )


def _members(names: Iterable[str]) -> str:
    """List names without those of header fields, where there are others."""
    named = list(dict.fromkeys(names))
    members = [name for name in named if ": " not in name]
    return ", ".join(members or named)[:MAX_TEXT]


def samples_of(first: bytes, then: bytes) -> tuple[Sample, ...]:
    """Return the differences of two byte strings, with what stands around them."""
    samples = [
        _sample(first, (span.start, span.end), then, (span.then_start, span.then_end))
        for span in spans(first, then, MAX_SAMPLES)
    ]
    if len(first) != len(then):
        samples += [
            _sample(one, span[:2], other, span[2:])
            for one, other in changed_strings(first, then, MAX_SAMPLES - 1)
            for span in spans(one, other, 1)
        ]
    return tuple(samples)


def _sample(first: bytes, ours: tuple[int, int], then: bytes, theirs: tuple[int, int]) -> Sample:
    cut = [_context(data, *bounds) for data, bounds in ((first, ours), (then, theirs))]
    return Sample(*cut[0], *cut[1])


def _context(data: bytes, start: int, end: int) -> tuple[bytes, int, int]:
    end = min(end, start + MAX_SAMPLE_BYTES)
    low = max(0, start - CONTEXT_BYTES)
    return data[low : end + CONTEXT_BYTES], start - low, end - low


def _texts(sample: Sample) -> tuple[str, str]:
    """Return what stands there in both as text; "" where it is none."""
    texts: list[str] = []
    for data, start, end in (sample[:3], sample[3:]):
        try:
            decoded = data[start:end].decode()
        except UnicodeDecodeError:
            return "", ""
        low, high = printable_around(data, start, end, CONTEXT_BYTES)
        around = data[low:high].decode(errors="replace") if high - low > end - start else decoded
        few = len(around) < _FEWEST_SHOWN and not text.is_text(data)
        if few or not all(char.isprintable() or char in "\t\r\n" for char in around):
            return "", ""
        texts.append(around[:MAX_TEXT])
    return texts[0], texts[1]


def _inside(pair: _Pair, ours: Part, theirs: Part) -> _Pair:
    base, extent = None, pair.extent
    if pair.base is not None and ours.end > ours.start:
        extent = (pair.base + ours.start, pair.base + ours.end)
        if pair.first[ours.start : ours.end] == ours.data:
            base = extent[0]
    return pair._replace(
        first=ours.data,
        then=theirs.data,
        base=base,
        extent=extent,
        names=(*pair.names, ours.name),
        derived=pair.derived or ours.derived,
    )


def _keyed(parts: list[Part]) -> _Parts:
    """Return parts by name, and a number where several have that name."""
    seen: Counter[str] = Counter()
    keyed: _Parts = {}
    for part in parts:
        keyed[part.name, seen[part.name]] = part
        seen[part.name] += 1
    return keyed


def _inflated(part: Part) -> int:
    return len(part.data) if len(part.data) != part.end - part.start else 0
