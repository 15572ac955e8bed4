"""All formats that have a canonical form, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from determinism import gzip_program
from determinism.deflate import ZLIB, Encoder, Inflation
from determinism.format import Conditions, Data, Edit, Format
from determinism.formats import (
    ar,
    coff_object,
    cpio,
    depfile,
    elf_image,
    elf_object,
    gettext_mo,
    gettext_po,
    gzip,
    javadoc,
    json,
    linker_map,
    pe,
    png,
    preprocessed,
    tar,
    zip,
)

# Containers first: what a checksum or an identity covers is to be canonical before it is taken.
FORMATS: tuple[Format, ...] = (
    ar.FORMAT,
    tar.FORMAT,
    cpio.FORMAT,
    zip.FORMAT,
    gzip.FORMAT,
    png.FORMAT,
    javadoc.FORMAT,
    gettext_po.FORMAT,
    gettext_mo.FORMAT,
    linker_map.FORMAT,
    depfile.FORMAT,
    preprocessed.FORMAT,
    json.FORMAT,
    coff_object.FORMAT,
    elf_object.FORMAT,
    pe.FORMAT,
    elf_image.FORMAT,
)


class Inflating(NamedTuple):
    """A format that can look into what it has compressed, and who may have compressed it."""

    edits: Callable[[Data, Conditions, Inflation], Sequence[Edit]]
    encoders: Callable[[], Sequence[Encoder]]


INFLATING: Mapping[str, Inflating] = {
    zip.FORMAT.name: Inflating(zip.edits, lambda: ZLIB),
    gzip.FORMAT.name: Inflating(gzip.edits, lambda: (*ZLIB, *gzip_program.encoders())),
}

# What a file carries to be known by: rewriting it makes another of it.
IDENTITIES: Mapping[str, Callable[[Data], bytes | None]] = {
    elf_image.FORMAT.name: elf_image.identity,
}
