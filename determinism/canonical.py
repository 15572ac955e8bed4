"""Brings outputs into canonical form, before they are hashed for the first time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from cas.digest import Digest, DigestFunction
from determinism import debugedit
from determinism.format import Conditions, Data, Format
from determinism.guards import Search, Traces, traces
from determinism.registry import FORMATS, IDENTITIES
from determinism.revision import Revision, no_members, recognised, revise
from determinism.rewriting import edit_file, opened, read_ends, replace_file
from determinism.text_rules import TextRule, rule_edits

MAX_FILE_BYTES = 4 << 30  # larger files are left as they are: checking them takes too long
WINDOW_SECONDS = 2  # clocks of a file's writer and of the worker may differ by their grain
HELD_BYTES = 64 << 20  # of new bytes, of all outputs together; others are worked out twice
TEXT, DWARF = "text", "dwarf paths"  # what is no format of its own is recorded so
DWARF_FORMATS = frozenset({"elf object", "elf image"})  # of files with debug information
_DIGITS = re.compile(r"[0-9a-fA-F]{8}|[\w+-]{22}")  # what a digest in a name has at the least


class Extent(StrEnum):
    """Which formats are applied."""

    NOTHING = "nothing"
    LEARNED = "learned"
    """Those that are harmless, and those that are named."""
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is applied to the outputs of one action.

    formats: names of those that are applied beside the harmless; unknown ones are no formats of
    this version. text_rules: those of the instance. mnemonic: the action's, or "".
    """

    how: Extent = Extent.LEARNED
    formats: frozenset[str] = frozenset()
    text_rules: tuple[TextRule, ...] = ()
    mnemonic: str = ""

    def active(self) -> list[Format]:
        """Return the formats that are applied, in their order."""
        if self.how is Extent.NOTHING:
            return []
        every = self.how is Extent.EVERYTHING
        return [each for each in FORMATS if every or each.harmless or each.name in self.formats]

    def text_rules_for(self, name: str) -> list[TextRule]:
        """Return the text rules for one output."""
        if self.how is Extent.NOTHING:
            return []
        return [rule for rule in self.text_rules if rule.concerns(name, self.mnemonic)]


def rules(selection: Selection) -> str:
    """Name what is applied, with versions: equal texts mean that outputs are rewritten alike.

    `ar.1 elf-image.2 text:ab12cd34ef56`; "" for nothing.
    """
    if selection.how is Extent.NOTHING:
        return ""
    named = [f"{each.name.replace(' ', '-')}.{each.version}" for each in selection.active()]
    text_rules = [
        each for each in selection.text_rules if each.mnemonic in {"", selection.mnemonic}
    ]
    if text_rules:
        hashed = hashlib.sha256(repr(text_rules).encode()).hexdigest()
        named.append(f"text:{hashed[:12]}")
    return " ".join(named)


class Output(NamedTuple):
    """path: of a regular file on this host. name: its path as the result has it."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """How an action ran.

    begun, ended: in seconds since 1970. root, seen_root: see Conditions. inputs: digests of all
    its input files, of one function. input_text: tells whether bytes stand in an input file.
    """

    begun: float
    ended: float
    root: str
    seen_root: str
    inputs: Collection[Digest]
    input_text: Callable[[bytes], bool]

    def conditions(self) -> Conditions:
        """Return what formats may go by."""
        return Conditions(
            begun=self.begun - WINDOW_SECONDS,
            ended=self.ended + WINDOW_SECONDS,
            root=self.root,
            seen_root=self.seen_root,
            in_inputs=self.input_text,
            member=no_members,
        )

    def digest_function(self) -> DigestFunction:
        """Return that of the inputs; SHA-256 if there are none."""
        return next((digest.function for digest in self.inputs), DigestFunction.SHA256)


class Rewritten(NamedTuple):
    """An output that was changed.

    formats: by whose rules, the outermost first. before: the digest
    of what it was. bytes: how many were replaced.
    """

    name: str
    formats: tuple[str, ...]
    before: Digest
    bytes: int


class Examined(NamedTuple):
    """What canonicalise would do with an output, or why it leaves it.

    formats: those that would change it. ranges, bytes: how many would be replaced. declined:
    formats that left it, and why; "" instead of a format where another rule forbids it.
    """

    output: Output
    formats: tuple[str, ...]
    ranges: int
    bytes: int
    declined: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Plan:
    """What is to be done with an output. revision: None where it is to be worked out again."""

    output: Output
    before: Digest
    identities: Sequence[bytes]
    inner: Sequence[Traces]
    revision: Revision | None
    formats: tuple[str, ...]
    bytes: int


class _Work:
    """The work on the outputs of one action."""

    def __init__(
        self, selection: Selection, circumstances: Circumstances, *, has_siblings: bool
    ) -> None:
        self._formats = selection.active()
        self._selection = selection
        self._circumstances = circumstances
        self._conditions = circumstances.conditions()
        self._has_siblings = has_siblings
        self._held_bytes = 0

    def revise(self, output: Output) -> Revision:
        """Work out what becomes of an output."""
        ends = read_ends(output.path)
        formats = recognised(self._formats, ends.head, ends.tail, output.name)
        if text_rules := self._selection.text_rules_for(output.name):
            formats.append(_text_format(text_rules))
        if not formats or not ends.size:
            return Revision()
        if ends.size > MAX_FILE_BYTES:
            return Revision(declined=[("", f"it has more than {MAX_FILE_BYTES >> 30} GiB")])
        if self._circumstances.seen_root and any(each.name in DWARF_FORMATS for each in formats):
            with TemporaryDirectory() as folder:
                copy = debugedit.rewritten(
                    output.path,
                    self._circumstances.seen_root,
                    self._circumstances.root,
                    Path(folder),
                )
                if copy is not None:
                    return self._revise_copy(copy, output.name, formats)
        with opened(output.path) as data:
            return self._revised(data, output.name, formats)

    def _revised(
        self, data: Data, name: str, formats: Sequence[Format], *, whole: bool = False
    ) -> Revision:
        return revise(
            data,
            name,
            formats,
            self._conditions,
            within=self._formats,
            whole=whole,
            with_traces=self._has_siblings,
        )

    def _revise_copy(self, copy: Path, name: str, formats: Sequence[Format]) -> Revision:
        """Revise a file whose paths debugedit has rewritten: all of it is new."""
        with opened(copy) as data:
            revision = self._revised(data, name, formats, whole=True)
        revision.formats = tuple(dict.fromkeys((DWARF, *revision.formats)))
        revision.ranges += 1
        revision.bytes = len(revision.whole or b"")
        return revision

    def plan(self, output: Output, revision: Revision) -> _Plan:
        """Keep what is to be done; but large revisions are dropped, to be worked out again."""
        held = self._held_bytes + revision.held_bytes
        if held > HELD_BYTES:
            kept = None
        else:
            kept, self._held_bytes = revision, held
        with opened(output.path) as data:
            before = Digest.of(memoryview(data), self._circumstances.digest_function())
            identities = [
                identity
                for name in revision.formats
                if name in IDENTITIES and (identity := IDENTITIES[name](data))
            ]
        return _Plan(
            output, before, identities, revision.inner, kept, revision.formats, revision.bytes
        )

    def carry_out(self, plan: _Plan) -> Rewritten | None:
        """Rewrite a file; None where that is not allowed."""
        revision = plan.revision or self.revise(plan.output)
        try:
            if revision.whole is not None:
                replace_file(plan.output.path, revision.whole)
            else:
                edit_file(plan.output.path, revision.edits)
        except PermissionError:
            return None
        return Rewritten(plan.output.name, plan.formats, plan.before, plan.bytes)


def canonicalise(
    outputs: Sequence[Output], selection: Selection, circumstances: Circumstances
) -> list[Rewritten]:
    """Rewrite outputs into their canonical form; return those that were changed.

    outputs: all of one action's, whose processes are gone. A file is rewritten in place, or, where
    it has other links or grows, replaced by another of the same mode. One that is an input, whose
    digest stands in another output or in a name, or that may not be written to is left.
    """
    if selection.how is Extent.NOTHING:
        return []
    work = _Work(selection, circumstances, has_siblings=len(outputs) > 1)
    plans = [
        work.plan(output, revision)
        for output in outputs
        if (revision := work.revise(output)).formats
    ]
    kept = _kept(plans, outputs, circumstances)
    done = [work.carry_out(plan) for index, plan in enumerate(plans) if index not in kept]
    return [rewritten for rewritten in done if rewritten is not None]


def examine(
    outputs: Sequence[Output], selection: Selection, circumstances: Circumstances
) -> list[Examined]:
    """Return, for each output, what canonicalise would do with it; nothing is changed."""
    work = _Work(selection, circumstances, has_siblings=len(outputs) > 1)
    examined, plans = [], dict[int, _Plan]()
    for index, output in enumerate(outputs):
        revision = work.revise(output)
        told = (revision.formats, revision.ranges, revision.bytes, tuple(revision.declined))
        examined.append(Examined(output, *told))
        if revision.formats:
            plans[index] = work.plan(output, revision)
    reasons = _kept(list(plans.values()), outputs, circumstances)
    for place, index in enumerate(plans):
        if place in reasons:
            declined = (*examined[index].declined, ("", reasons[place]))
            examined[index] = Examined(outputs[index], (), 0, 0, declined)
    return examined


def _text_format(text_rules: Sequence[TextRule]) -> Format:
    """Return text rules as a format: one for all, so that their edits do not overlap."""
    return Format(
        name=TEXT,
        version=1,
        harmless=False,
        rewrites="What a rule of the configuration matches.",
        standard="The operator's.",
        preserves="The operator says so.",
        declines="Files that are not text, or over the bounds.",
        matches=lambda head, tail, name: True,
        edits=lambda data, conditions: rule_edits(text_rules, data),
    )


def _kept(
    plans: Sequence[_Plan], outputs: Sequence[Output], circumstances: Circumstances
) -> dict[int, str]:
    """Return the plans that are not carried out, by their index, each with the reason."""
    kept = {
        index: "it is an input that was passed on"
        for index, plan in enumerate(plans)
        if plan.before in circumstances.inputs
    }
    names = "\n".join(output.name for output in outputs)
    # A folder may have the first digits: .build-id/ab/cdef.debug
    names = f"{names}\n{names.replace('/', '')}"
    if not plans or (len(outputs) == 1 and not _DIGITS.search(names)):
        return kept
    search = Search([_traces(plan) for plan in plans])
    for index in search.found(names.encode(errors="replace")):
        kept.setdefault(index, "its digest stands in a name")
    own = {plan.output: plan.before for plan in plans}
    for output in outputs:
        for index in _mentioned(search, output):
            # Two files with the same bytes carry the same identity, and both become the same.
            if own.get(output) != plans[index].before:
                kept.setdefault(index, f"its digest stands in {output.name}")
    return kept


def _traces(plan: _Plan) -> Traces:
    with opened(plan.output.path) as data:
        own = traces(data, plan.identities)
    return Traces(
        own.hexadecimal.union(*(each.hexadecimal for each in plan.inner)),
        own.base64.union(*(each.base64 for each in plan.inner)),
        own.raw,
    )


def _mentioned(search: Search, output: Output) -> set[int]:
    if not read_ends(output.path).size:
        return set()
    with opened(output.path) as data:
        return search.found(data)
