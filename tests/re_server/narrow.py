"""A process that may take little memory more than it has, and takes a stream apart in it.

python -m tests.re_server.narrow COMPRESSOR MIB < STREAM
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from re_client.status import Refused
from re_server.compression.codecs import codec_named


def _main(compressor: str, more_bytes: int) -> None:
    """Print how many bytes the stream stands for, or that it is refused."""
    sent = sys.stdin.buffer.read()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    decoder = codec_named(compressor).decoder()
    size = 0
    try:
        for part in decoder.decode(sent):
            size += len(part)
        decoder.end()
    except Refused:
        print("refused")
    else:
        print(size)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]) << 20)
