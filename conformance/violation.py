"""How a check ends that did not come to its end: broken rules, and rules that do not apply."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from grpc import StatusCode

from conformance.refusal import BAD_INPUT, Refused


class Violation(Exception):
    """The server did not do what the rule says. The message says what it did."""


class NotApplicable(Exception):
    """The rule is about something that this server does not offer, and does not claim to."""


def expect(holds: object, otherwise: str) -> None:
    """Raise Violation with the words `otherwise` if `holds` is false."""
    if not holds:
        raise Violation(otherwise)


class Caught:
    """What a `refused` block ended with."""

    error: Refused


@contextmanager
def refused(*codes: StatusCode) -> Iterator[Caught]:
    """Expect that the block's call is refused with one of `codes`; with any, if there are none."""
    caught = Caught()
    allowed = _said(codes)
    try:
        yield caught
    except Refused as error:
        caught.error = error
        if codes and error.code not in codes:
            raise Violation(f"{error.code.name} was answered in place of {allowed}") from error
    else:
        raise Violation(f"OK was answered in place of {allowed}")


def _said(codes: tuple[StatusCode, ...]) -> str:
    if set(codes) >= set(BAD_INPUT):
        return "an error that blames the request"
    return " or ".join(code.name for code in codes) or "an error"


@contextmanager
def optional(what: str) -> Iterator[None]:
    """Let the rule not apply if the server answers UNIMPLEMENTED: nothing announces `what`."""
    try:
        yield
    except Refused as error:
        if error.code == StatusCode.UNIMPLEMENTED:
            raise NotApplicable(f"the server does not implement {what}") from error
        raise
