"""One call that a check made: what was sent, and what came back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import Message

from conformance.refusal import Refused
from conformance.rendering import cut, rendered

SHOWN_MESSAGES = 3  # of a stream, from its beginning; the last comes on top


@dataclass
class Exchange:
    """A call, as far as it has come. Messages are kept: they are rendered for what fails alone.

    sent_count, received_count: of all messages, also of those that are not kept.
    """

    path: str
    metadata: Sequence[tuple[str, str | bytes]]
    sent: list[Message | bytes] = field(default_factory=list)
    sent_count: int = 0
    received: list[Message] = field(default_factory=list)
    received_count: int = 0
    refused: Refused | None = None

    def sends(self, message: Message | bytes) -> None:
        self.sent_count += 1
        _keep(self.sent, message)

    def receives(self, message: Message) -> None:
        self.received_count += 1
        _keep(self.received, message)

    def lines(self) -> Iterator[str]:
        """Tell it in some lines: `>` is what was sent, `<` what came back."""
        service, _, method = self.path.rpartition("/")
        yield f"{service.rpartition('.')[2]}.{method}"
        for name, value in self.metadata:
            yield f"  > header {name}: {cut(repr(value))}"
        yield from _told("  > ", self.sent, self.sent_count)
        yield from _told("  < ", self.received, self.received_count)
        if self.refused is not None:
            yield f"  < {self.refused.code.name}: {cut(self.refused.message, 400)}"
            for detail in self.refused.status.details:
                yield from (f"  <   {line}" for line in rendered(detail))


def _keep(kept: list[Message | bytes] | list[Message], message: Message | bytes) -> None:
    """Keep the first few, and the last."""
    if len(kept) > SHOWN_MESSAGES:
        kept.pop()
    kept.append(message)  # type: ignore[arg-type]  # what is received is a Message


def _told(arrow: str, kept: Sequence[Message | bytes], messages: int) -> Iterator[str]:
    for number, message in enumerate(kept):
        if number == SHOWN_MESSAGES and messages > len(kept):
            yield f"{arrow}… {messages - len(kept)} more messages …"
        for line in rendered(message):
            yield f"{arrow}{line}"
