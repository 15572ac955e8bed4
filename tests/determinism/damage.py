"""Files that are not quite what they were."""

from __future__ import annotations

from hypothesis import strategies

from determinism.format import HEAD_BYTES, TAIL_BYTES, Conditions, Declined, Format, applied


@strategies.composite
def damaged(draw: strategies.DrawFn, data: bytes) -> bytes:
    """Cut `data` short, or change, drop or put in some bytes at one to three places."""
    for _ in range(draw(strategies.integers(1, 3))):
        at = draw(strategies.integers(0, len(data)))
        match draw(strategies.sampled_from(["cut", "change", "drop", "put in"])):
            case "cut":
                data = data[:at]
            case "change":
                new = draw(strategies.binary(min_size=1, max_size=4))
                data = data[:at] + new + data[at + len(new) :]
            case "drop":
                data = data[:at] + data[at + draw(strategies.integers(1, 64)) :]
            case _:
                data = data[:at] + draw(strategies.binary(min_size=1, max_size=64)) + data[at:]
    return data


def made_canonical(format: Format, data: bytes, conditions: Conditions) -> bytes | None:
    """Return what becomes of a file; None if it is of another format, or declines."""
    if not format.matches(data[:HEAD_BYTES], data[-TAIL_BYTES:], "output"):
        return None
    try:
        edits = format.edits(data, conditions)
    except Declined:
        return None
    made = applied(data, edits)
    assert len(made) == len(data)
    assert list(format.edits(made, conditions)) == []
    return made
