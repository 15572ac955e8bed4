"""The program gzip as an encoder: its streams are not zlib's."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache, partial

from determinism.deflate import Encoder

HEADER_BYTES, TRAILER_BYTES = 10, 8  # RFC 1952, of a member without a name
LEVELS = (6, 9, 1, 2, 3, 4, 5, 7, 8)
CHUNK_BYTES = 64 << 10


@cache
def encoders() -> tuple[Encoder, ...]:
    """Return the program's levels, its default first; none where it is not installed."""
    program = shutil.which("gzip")
    if program is None:
        return ()
    return tuple(Encoder(level, partial(_deflated, program, level)) for level in LEVELS)


def _deflated(program: str, level: int, contents: bytes) -> Iterator[bytes]:
    """Yield the raw deflate stream; the program ends when no more of it is asked for."""
    with tempfile.TemporaryFile() as file:
        file.write(contents)
        file.seek(0)
        with subprocess.Popen(  # noqa: S603  no part of the arguments is an action's
            [program, "-n", "-c", f"-{level}"], stdin=file, stdout=subprocess.PIPE, env={}
        ) as running:
            assert running.stdout is not None
            try:
                held = b""
                skipped = HEADER_BYTES
                while chunk := running.stdout.read(CHUNK_BYTES):
                    held += chunk
                    ready = held[skipped:-TRAILER_BYTES]
                    if ready:
                        yield ready
                        held, skipped = held[-TRAILER_BYTES:], 0
            finally:
                running.kill()
