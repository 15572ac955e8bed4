"""Names of temporary files, as compilers make them up, and the constants that stand for them.

Each program draws a part of the name at random, or takes its process number; the rest stays. Known
are those of GCC's and Clang's drivers, nvcc, rustc, Go, mktemp and Python's tempfile.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from determinism.format import Declined, Edit

_GCC = rb"cc([A-Za-z0-9]{6})"  # libiberty, make_temp_file
_CLANG = rb"[\w.+-]+-([0-9a-f]{6})"  # clang::driver, createTemporaryFile
_NVCC = rb"tmpxft_([0-9a-f]{8})(?=_[0-9a-f]{8}-\d+_)"  # its process number

FILE_NAME = re.compile(
    rb"(?:(?:/var)?/tmp/)?(?:%b(?:\.[\w-]+)*\.[os]|%b\.[os]|%b.+)" % (_GCC, _CLANG, _NVCC),
    re.DOTALL,
)
"""The whole name of a source or an object that is a temporary file; one group takes part."""

PATH = re.compile(
    rb"/tmp/(?:"
    rb"%b(?=\.[a-z])|%b|rustc([A-Za-z0-9]{6})(?=/)|go-(?:build|link-)(?P<number>\d+)(?=/)"
    rb"|tmp\.([A-Za-z0-9]{10})(?![A-Za-z0-9])|tmp([a-z0-9_]{8})(?![a-z0-9_])"
    rb"|%b(?=\.(?:o|s|bc|i|ii|c|cpp|rsp)\b)"
    rb")" % (_GCC, _NVCC, _CLANG)
)
"""The start of a temporary file's path, within a text; one group takes part.

It begins with literal text: so it is looked for 50 times as fast as it would be otherwise.
"""


class Constants:
    """Puts a constant in the place of each random part: its number, in the order they are met.

    Numbers and not one constant, so that two files stay two. Names that are canonical are numbered
    as they are.

    left: tells whether a name is to be left, since it did not come from the action.
    """

    def __init__(self, left: Callable[[bytes], bool]) -> None:
        self._left = left
        self._constants: dict[bytes, bytes | None] = {}  # None for what is left
        self._given: set[bytes] = set()
        self._lasting: set[bytes] = set()

    def edit(self, match: re.Match[bytes], at: int = 0) -> Edit | None:
        """Return the edit for a match of FILE_NAME or PATH, or None if nothing is to be done.

        at: where in the file that begins in which the match was found. The length stays, but for
        numbers that programs write without leading zeros. Raises Declined when there are more
        names than constants, or a constant is the random part of a name that is left.
        """
        assert match.lastindex
        random = match[match.lastindex]
        if random not in self._constants:
            self._add(match, random)
        constant = self._constants[random]
        if constant is None or constant == random:
            return None
        start, end = match.span(match.lastindex)
        return Edit(at + start, at + end, constant)

    def _add(self, match: re.Match[bytes], random: bytes) -> None:
        constant = None
        if not self._left(match[0]):
            width = 1 if match.lastgroup == "number" else len(random)
            constant = b"%0*d" % (width, len(self._constants))
            if len(constant) > width > 1:
                raise Declined("it has more temporary names than there are constants")
        self._constants[random] = constant
        (self._lasting if constant is None else self._given).add(constant or random)
        if not self._lasting.isdisjoint(self._given):
            raise Declined("a temporary name of it came from an input, and has that of another")
