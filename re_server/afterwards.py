"""What is done about results after they were answered: reading, comparing, running again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass

from action_cache.mode import Mode
from action_cache.results import ActionKey
from cas.digest import Digest
from determinism.arbiter import Odd
from re_client.parallel import first_of
from re_server.auditing import Auditor
from re_server.consumption import Consumption
from re_server.determinism_metrics import Rulings
from re_server.executions import Execution
from re_server.inquiry import Inquiry
from re_server.proposal_metrics import Reviewed
from re_server.review import Review
from re_server.verifying import Verifier
from re_server.witness import Conflict


@dataclass(slots=True)
class Afterwards:
    """Takes in what was settled and hands it to those who look into it, in the background.

    They are filled in once the scheduler is there, which tells of results and runs actions again.
    consumption: None where no ledger is kept. auditor, verifier: None where nothing is executed.
    """

    review: Review
    inquiry: Inquiry | None = None
    consumption: Consumption | None = None
    auditor: Auditor | None = None
    verifier: Verifier | None = None

    def rulings(self) -> Rulings:
        """Count what runs of the server's own have brought to light."""
        judged = self.inquiry.judged if self.inquiry else {}
        return Rulings(
            odd_pins=judged.get(Odd.PIN, 0),
            odd_runs=judged.get(Odd.RUN, 0),
            audited=self.auditor.audited if self.auditor else 0,
        )

    def reviewed(self) -> Reviewed:
        """Count what became of proposals."""
        return Reviewed(self.review.ruled, self.verifier.verified if self.verifier else 0)

    def executed(self, execution: Execution, seconds: float, conflict: Conflict | None) -> None:
        """Take in the result of an execution that took `seconds`."""
        key = ActionKey(execution.instance, execution.action)
        self._settled(key, execution.input_root, conflict)
        if self.auditor is not None and conflict is None:
            self.auditor.offer(key, execution.program, seconds)

    def uploaded(self, key: ActionKey, input_root: Digest, conflict: Conflict | None) -> None:
        """Take in a result that a client has uploaded."""
        self._settled(key, input_root, conflict)

    def proposed(self, key: ActionKey, mode: Mode, program: str, root: Digest) -> None:
        """Take in that a result waits which only its writer is answered with."""
        if self.verifier is not None:
            self.verifier.offer(key, mode, program, root)

    def _settled(self, key: ActionKey, root: Digest | None, conflict: Conflict | None) -> None:
        if self.consumption is not None:
            self.consumption.add(key, root)
        if self.inquiry is not None and conflict is not None:
            self.inquiry.add(conflict)

    def loops(self, stopping: asyncio.Event) -> list[Coroutine[None, None, None]]:
        """Return what is to run beside the server; it runs no actions once `stopping` is set."""
        parts = (self.inquiry, self.auditor, self.verifier, self.review)
        running = [part.run() for part in parts if part is not None]
        loops = [first_of(loop, stopping.wait()) for loop in running]
        return loops if self.consumption is None else [*loops, self.consumption.run()]
