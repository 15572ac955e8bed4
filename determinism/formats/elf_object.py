"""ELF object files: names of temporary files that compilers leave in their symbols."""

from __future__ import annotations

from collections.abc import Sequence

from determinism import elf
from determinism.elf_symbols import file_name_edits
from determinism.format import Conditions, Data, Declined, Edit, Format

LEFT_PREFIXES = (
    b".gnu.lto_",  # the linker's plug-in reads it, and hashes what it reads
    b".gnu.debuglto_",
    b".llvmbc",
    b".zdebug",  # compressed: what it holds is not looked into
    b".rustc",  # crate metadata, whose hash others hold
    b".sig",
    b"signature",
)


def matches(head: bytes, tail: bytes, name: str) -> bool:
    return elf.kind_of(head) == elf.ET_REL


def edits(data: Data, conditions: Conditions) -> Sequence[Edit]:
    """Put constants into STT_FILE names. See determinism.elf_symbols."""
    parsed = elf.parsed(data)
    if parsed.kind != elf.ET_REL:
        raise Declined("it is no object file")
    if parsed.end != len(data):
        raise Declined("something follows it, such as a signature")
    for section in parsed.sections:
        if section.name.startswith(LEFT_PREFIXES) or section.flags & elf.SHF_COMPRESSED:
            raise Declined(f"it has a section {section.name.decode(errors='replace')}")
    return file_name_edits(data, parsed, conditions)


FORMAT = Format(
    name="elf object",
    version=1,
    harmless=False,
    rewrites="names of temporary files in STT_FILE symbols, with constants of the same length",
    standard="System V ABI, Object Files, Symbol Table (STT_FILE)",
    preserves="such a symbol has no value, is local and in no hash table: linkers go by it for"
    " nothing, debuggers show it",
    declines="link-time optimisation, compressed debug sections, crate metadata, signatures; names"
    " that stand in an input, or that share bytes with another name",
    matches=matches,
    edits=edits,
)
