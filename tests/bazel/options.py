"""Bazel's options for building through Holdfast."""

from __future__ import annotations

from tests.serving import Served

JOBS = 8
"""More than the processors of a small machine: actions wait in the server's queue, not in Bazel."""


def execution(served: Served) -> tuple[str, ...]:
    """Return the options with which `served` runs every action."""
    return (f"--remote_executor=grpc://{served.grpc}", f"--jobs={JOBS}")
