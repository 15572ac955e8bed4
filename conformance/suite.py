"""All checks there are, in the order in which they run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import ModuleType

from conformance.check import Check
from conformance.sections import (
    action_cache,
    assets,
    batch_compression,
    batch_read,
    batch_update,
    capabilities,
    complete_results,
    compressed_offsets,
    compression,
    digests,
    execution,
    find_missing,
    get_tree,
    inputs,
    instances,
    logstream,
    metadata,
    operations,
    outputs,
    read,
    robust_frames,
    robust_messages,
    robust_trees,
    splicing,
    splitting,
    write,
    write_messages,
    write_status,
)

MODULES: tuple[ModuleType, ...] = (
    capabilities,
    # Reading comes before anything uploads the empty blob: it has to be there without that.
    find_missing,
    batch_read,
    get_tree,
    read,
    compression,
    batch_update,
    write,
    write_messages,
    write_status,
    compressed_offsets,
    batch_compression,
    digests,
    instances,
    splitting,
    splicing,
    action_cache,
    complete_results,
    execution,
    inputs,
    outputs,
    operations,
    assets,
    logstream,
    metadata,
    robust_messages,
    robust_frames,
    robust_trees,
)


class Unknown(ValueError):
    """There is no check, or no section, of this name."""


def _checks() -> Sequence[Check]:
    return [
        value for module in MODULES for value in vars(module).values() if isinstance(value, Check)
    ]


CHECKS: Sequence[Check] = _checks()


def chosen(sections: Collection[str] = (), ids: Collection[str] = ()) -> Sequence[Check]:
    """Return the checks of `sections` and those called `ids`, all if both are empty.

    Raises Unknown.
    """
    known = {check.section for check in CHECKS} | {check.id for check in CHECKS}
    if strangers := {*sections, *ids} - known:
        sections_there = ", ".join(dict.fromkeys(check.section for check in CHECKS))
        raise Unknown(
            f"{', '.join(sorted(strangers))}: no such check or section; there are the sections "
            f"{sections_there}, and --list names the checks"
        )
    return [
        check
        for check in CHECKS
        if check.section in sections or check.id in ids or not (sections or ids)
    ]
