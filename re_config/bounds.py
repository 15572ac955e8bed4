"""Bounds that a configuration sets, as the packages below take them."""

from __future__ import annotations

from cas.tree import TreeLimits
from re_config.schema import Execution, Limits
from scheduler.limits import Limits as SchedulerLimits


def tree_limits(limits: Limits) -> TreeLimits:
    return TreeLimits(
        depth=limits.tree_depth,
        directories=limits.tree_directories,
        nodes=limits.tree_entries,
        paths=limits.tree_paths,
    )


def scheduler_limits(execution: Execution) -> SchedulerLimits:
    return SchedulerLimits(
        max_queued=execution.max_queued,
        max_attempts=execution.max_attempts,
        keep_finished_seconds=execution.keep_finished_seconds,
        max_finished=execution.max_finished,
        abandoned_seconds=execution.abandoned_seconds,
        no_worker_seconds=execution.no_worker_seconds,
    )
