"""Keys of actions that are named by their hash alone: no size is known, or a wrong one."""

from __future__ import annotations

from action_cache.disk import DiskResults
from action_cache.results import ActionKey
from cas.disk import DiskStore


class ActionKeys:
    """Looks up the sizes of actions.

    Bazel's HTTP cache has no sizes; bazel-remote's gRPC proxy sends -1 with what it asks for, and
    the size of the result with what it uploads.
    """

    def __init__(self, blobs: DiskStore, results: DiskResults) -> None:
        self._blobs = blobs
        self._results = results

    def to_read(self, asked: ActionKey) -> ActionKey:
        """Return the key of the action's entry, or where there is none, that to keep one under."""
        return self._entry(asked) or self.to_keep(asked)

    def to_keep(self, asked: ActionKey) -> ActionKey:
        """Return the key with the size of the Action's own blob.

        Where that is not there, but an entry is, with that entry's; otherwise `asked` as it is.
        """
        action = self._blobs.named(asked.action.function, asked.action.hash)
        if action is not None:
            return ActionKey(asked.instance, action)
        return self._entry(asked) or asked

    def _entry(self, asked: ActionKey) -> ActionKey | None:
        return self._results.named(asked.instance, asked.action.function, asked.action.hash)
