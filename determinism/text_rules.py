"""Rules of an operator's own, for texts in which something varies that no format knows of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Self

import re2

from determinism.format import Data, Declined, Edit, applied

MAX_TEXT_BYTES = 64 << 20
MAX_LINE_BYTES = 64 << 10
MAX_MATCHES = 20_000
BINARY_BYTES = 8 << 10  # a file with a NUL among its first bytes is no text


class InvalidRule(ValueError):
    """A rule that can't be followed. rule, field: their names. reason: why, for people."""

    def __init__(self, rule: str, field: str, reason: str) -> None:
        super().__init__(f"text rule {rule!r}, {field}: {reason}")
        self.rule = rule
        self.field = field
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRule:
    """What to replace in which outputs.

    pattern: an expression as RE2 knows them, of bytes, matched within a line. fill: what a match is
    replaced by, repeated and cut to its length. outputs: a glob that the path of an output has to
    match as a whole; `*` matches `/` too. mnemonic: that of the actions, or "" for any.

    RE2 takes time that is linear in the text, whatever the expression, and so has neither
    back-references nor look-around. One match costs at most a line, and of lines and of matches
    there is a bound: the worst file takes some seconds, and on every machine has the same result,
    which a limit of time could not promise.
    """

    name: str
    pattern: bytes
    fill: bytes
    outputs: str
    mnemonic: str = ""

    def checked(self) -> Self:
        """Return this rule. Raises InvalidRule."""
        if not self.name:
            raise InvalidRule(self.name, "name", "it is empty")
        try:
            compiled = _compiled(self.pattern)
        except re2.error as error:
            raise InvalidRule(self.name, "pattern", _told(error)) from None
        if compiled.search(b""):
            raise InvalidRule(self.name, "pattern", "it matches where there is nothing")
        if not self.fill:
            raise InvalidRule(self.name, "fill", "it is empty")
        if b"\n" in self.fill or b"\0" in self.fill:
            raise InvalidRule(self.name, "fill", "it has the end of a line, or a NUL")
        if not self.outputs:
            raise InvalidRule(self.name, "outputs", "it is empty: it matches no output")
        return self

    def concerns(self, output: str, mnemonic: str) -> bool:
        """Tell whether this rule is for an output. output: its path in the Command."""
        return self.mnemonic in {"", mnemonic} and fnmatchcase(output, self.outputs)


def rule_edits(rules: Sequence[TextRule], data: Data) -> list[Edit]:
    """Return the edits that make a text follow `rules`; where two would change the same, the first.

    Lengths stay. Raises Declined if it is no text or over a bound, or if its canonical form would
    be changed once more.
    """
    if len(data) > MAX_TEXT_BYTES:
        raise Declined(f"it has more than {MAX_TEXT_BYTES >> 20} MiB")
    if b"\0" in data[:BINARY_BYTES]:
        raise Declined("it is not text: it has a NUL")
    text = data[:]
    edits = _edits(rules, text)
    if edits and _edits(rules, applied(text, edits)):
        raise Declined("a rule matches what it or another has filled in")
    return edits


def _edits(rules: Iterable[TextRule], text: bytes) -> list[Edit]:
    """Return the edits, in their order, without those that would change nothing."""
    found: list[Edit] = []
    for rule in rules:
        found = _merged(found, _of_rule(rule, text))
    return [edit for edit in found if text[edit.start : edit.end] != edit.new]


def _of_rule(rule: TextRule, text: bytes) -> Iterator[Edit]:
    compiled = _compiled(rule.pattern)
    if not compiled.search(text):
        return
    _check_lines(text)
    for number, match in enumerate(compiled.finditer(text)):
        start, end = match.span()
        if number >= MAX_MATCHES:
            raise Declined(f"the rule {rule.name} matches more than {MAX_MATCHES} times")
        if start < end:
            times = -(-(end - start) // len(rule.fill))
            yield Edit(start, end, (rule.fill * times)[: end - start])


def _merged(first: Sequence[Edit], then: Iterable[Edit]) -> list[Edit]:
    """Return the edits of `first`, and those of `then` that overlap none of them, in order."""
    merged = list(first)
    at = 0
    for edit in then:
        while at < len(first) and first[at].end <= edit.start:
            at += 1
        if at == len(first) or edit.end <= first[at].start:
            merged.append(edit)
    return sorted(merged)


def _check_lines(text: bytes) -> None:
    at = 0
    while at + MAX_LINE_BYTES < len(text):
        at = text.rfind(b"\n", at, at + MAX_LINE_BYTES + 1) + 1
        if at == 0:
            raise Declined(f"it has a line of more than {MAX_LINE_BYTES >> 10} KiB")


@cache
def _compiled(pattern: bytes) -> Any:
    """Return RE2's expression. A search never goes beyond the line in which it finds something."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_nl = True
    options.never_capture = True
    options.log_errors = False
    return re2.compile(pattern, options)


def _told(error: Exception) -> str:
    """Return RE2's message, which is bytes where the expression is."""
    reason = error.args[0] if error.args else "it is no expression"
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
