"""Takes in results of callers who may only propose them."""

from __future__ import annotations

from collections.abc import Callable

from action_cache.mode import Mode
from action_cache.results import ActionKey, Kept, Origin
from cas.digest import Digest
from determinism.judge import Judge
from determinism.proposals import Standing, ambiguity
from re_client.status import NotAllowed, Refused
from re_config.determinism_tables import Instance
from re_server.actions import LoadedAction
from re_server.hits import Hits
from re_server.witness import Witness

Waiting = Callable[[ActionKey, Mode, str, Digest], object]


class Proposing:
    """Keeps proposals. waiting: told of each that waits: action, mode, program and input root."""

    def __init__(self, judge: Judge, hits: Hits, witness: Witness, *, waiting: Waiting) -> None:
        self._judge = judge
        self._hits = hits
        self._witness = witness
        self._waiting = waiting

    async def propose(
        self,
        key: ActionKey,
        new: Kept,
        loaded: LoadedAction | None,
        instance: Instance,
        *,
        writer: str,
        origin: Origin,
    ) -> Kept:
        """Keep `new` for `writer` alone, unless everyone has a result or it is the last that takes.

        loaded: None where the Action is not there. Returns what the writer is answered. Raises
        Refused for a result that can be read in two ways.
        """
        if fault := ambiguity(new.result, key.action.function):
            raise Refused(f"action_result: {fault}")
        if loaded is not None and loaded.input_root is not None and loaded.action.do_not_cache:
            return new
        root = loaded.input_root if loaded is not None else None
        mode = (loaded.mode if loaded is not None else None) or instance.determinism
        # What a client made is not failed for a difference: it is answered the pinned result.
        mode = Mode.PIN if mode is Mode.STRICT else mode
        proposed = await self._judge.propose(
            key,
            new,
            mode,
            writer=writer,
            confirmations=instance.confirmations,
            comparable=root is not None,
            origin=origin,
        )
        if proposed.promoted is not None:
            self._hits.forget(key)
            self._witness.promoted(key, *proposed.promoted, mode=mode)
        elif root is not None and proposed.standing is not Standing.NEEDLESS:
            self._waiting(key, mode, origin.program, root)
        return proposed.answer


def check_may_replace(writer: str, *, asked: bool) -> None:
    """Raise NotAllowed if a caller who may only propose asks to replace a pin."""
    if asked and writer:
        raise NotAllowed(f"{writer!r} may only propose results, and not replace pinned ones")
