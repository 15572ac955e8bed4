"""Requests, workers and clocks for tests of the scheduler."""

from __future__ import annotations

from cas.digest import Digest
from protos import remote_execution_pb2 as reapi, worker_pb2
from scheduler.job import Job, Worker
from scheduler.platform import Platform
from scheduler.queue import Queue
from scheduler.request import Request, Rewriting

LINUX = (("OSFamily", "linux"),)
MAC = (("OSFamily", "mac"),)
LEARNED = Rewriting(worker_pb2.Canonicalise.LEARNED)


def request(
    action: str = "a",
    *,
    instance: str = "",
    platform: tuple[tuple[str, str], ...] = LINUX,
    priority: int = 0,
    invocation: str = "one",
    input_root: str | None = None,
    rewriting: Rewriting = LEARNED,
    mergeable: bool = True,
    fresh: bool = False,
) -> Request:
    """Ask for an action. action, input_root: any text; equal texts are equal digests."""
    return Request(
        instance=instance,
        action=Digest.of(action.encode()),
        platform=platform,
        priority=priority,
        invocation=invocation,
        input_root=None if input_root is None else Digest.of(input_root.encode()),
        named=(),
        timeout_seconds=60,
        rewriting=rewriting,
        mergeable=mergeable,
        fresh=fresh,
    )


def worker(
    name: str = "w", *, slots: int = 1, platform: tuple[tuple[str, str], ...] = LINUX
) -> Worker:
    return Worker(name, Platform.of(platform), slots)


def offer(
    name: str = "w", *, slots: int = 1, platform: tuple[tuple[str, str], ...] = LINUX
) -> worker_pb2.Offer:
    properties = [reapi.Platform.Property(name=name, value=value) for name, value in platform]
    return worker_pb2.Offer(name=name, slots=slots, platform=reapi.Platform(properties=properties))


def submit(queue: Queue, name: str, asked: Request, *, now: float = 0) -> Job:
    """Let the waiter `name` wait; return the job it waits for."""
    job, _ = queue.submit(asked, name, now=now, wall=now)
    return job


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds
