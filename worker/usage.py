"""What an action took of its worker."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Self

from google.protobuf.duration_pb2 import Duration

from protos import worker_pb2

KIB = 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """The sum over an action's processes, or over some of them.

    Blocks have 512 bytes. Source: getrusage(2).
    """

    user_seconds: float = 0
    system_seconds: float = 0
    max_rss_bytes: int = 0
    block_reads: int = 0
    block_writes: int = 0
    minor_faults: int = 0
    major_faults: int = 0

    @classmethod
    def of(cls, used: resource.struct_rusage) -> Self:
        return cls(
            user_seconds=used.ru_utime,
            system_seconds=used.ru_stime,
            max_rss_bytes=used.ru_maxrss * KIB,
            block_reads=used.ru_inblock,
            block_writes=used.ru_oublock,
            minor_faults=used.ru_minflt,
            major_faults=used.ru_majflt,
        )

    def message(self) -> worker_pb2.ResourceUsage:
        return worker_pb2.ResourceUsage(
            user_time=duration(self.user_seconds),
            system_time=duration(self.system_seconds),
            max_rss_bytes=self.max_rss_bytes,
            block_reads=self.block_reads,
            block_writes=self.block_writes,
            minor_faults=self.minor_faults,
            major_faults=self.major_faults,
        )


def duration(seconds: float) -> Duration:
    """Return `seconds`, to the microsecond, as the wire has it."""
    length = Duration()
    length.FromMicroseconds(round(seconds * 1e6))
    return length
