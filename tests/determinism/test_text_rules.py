from __future__ import annotations

import mmap
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from determinism.format import Declined, applied
from determinism.text_rules import MAX_LINE_BYTES, MAX_MATCHES, InvalidRule, TextRule, rule_edits

STAMP = TextRule(name="stamp", pattern=rb"built at [0-9:]+", fill=b"-", outputs="*.txt")
ID = TextRule(name="id", pattern=rb"[0-9a-f]{32}", fill=b"0", outputs="*", mnemonic="GenId")


def followed(text: bytes, *rules: TextRule) -> bytes:
    made = applied(text, rule_edits(rules, text))
    assert rule_edits(rules, made) == []
    assert len(made) == len(text)
    return made


def test_matches_are_filled_to_their_length() -> None:
    assert followed(b"a built at 12:00:01 z\n", STAMP) == b"a ----------------- z\n"
    assert followed(b"a built at 1 z\n", replace(STAMP, fill=b"ab")) == b"a ababababab z\n"
    assert followed(b"built at 12:00\n", replace(STAMP, fill=b"x" * 99)) == b"x" * 14 + b"\n"


def test_what_follows_the_rule_already_is_not_changed() -> None:
    zeros = replace(STAMP, pattern=rb"[0-9]+", fill=b"0")
    assert rule_edits([zeros], b"a 000 b\n") == []


def test_of_two_rules_that_match_the_same_the_first_is_followed() -> None:
    both = (STAMP, replace(STAMP, name="other", pattern=rb"at 12:00.*", fill=b"+"))
    assert followed(b"built at 12:00 by\n", *both) == b"-------------- by\n"


def test_bytes_of_no_encoding_can_be_matched() -> None:
    rule = replace(STAMP, pattern=rb"\xff[\x80-\xfe]+", fill=b"?")
    assert followed(b"a\xff\x80\xc3\xa9 \xc3\xff\n", rule) == b"a???? \xc3\xff\n"


def test_a_match_stays_within_a_line() -> None:
    rule = replace(STAMP, pattern=rb"a[^b]*z")
    assert followed(b"a..\n..z a..z\n", rule) == b"a..\n..z ----\n"


def test_a_mapped_file_will_do(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"built at 12:00\n")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        assert rule_edits([STAMP], data)[0].new == b"-" * 14


@pytest.mark.parametrize(
    ("output", "mnemonic", "expected"),
    [
        ("out/gen/id", "GenId", True),
        ("id", "CppCompile", False),
        ("id", "", False),
    ],
)
def test_a_rule_is_for_its_mnemonic(output: str, mnemonic: str, *, expected: bool) -> None:
    assert ID.concerns(output, mnemonic) is expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [("a.txt", True), ("x/y/a.txt", True), ("a.txt.d", False), ("A.TXT", False)],
)
def test_a_rule_is_for_outputs_that_its_glob_matches(output: str, *, expected: bool) -> None:
    assert STAMP.concerns(output, "Anything") is expected


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (replace(STAMP, name=""), "name"),
        (replace(STAMP, pattern=b"("), "pattern"),
        (replace(STAMP, pattern=rb"(?=x)"), "pattern"),
        (replace(STAMP, pattern=rb"(a)\1"), "pattern"),
        (replace(STAMP, pattern=rb"x*"), "pattern"),
        (replace(STAMP, pattern=b""), "pattern"),
        (replace(STAMP, fill=b""), "fill"),
        (replace(STAMP, fill=b"a\n"), "fill"),
        (replace(STAMP, outputs=""), "outputs"),
    ],
)
def test_what_is_wrong_with_a_rule_is_told_by_its_field(rule: TextRule, field: str) -> None:
    with pytest.raises(InvalidRule, match=field) as caught:
        rule.checked()
    assert caught.value.field == field
    assert caught.value.reason in str(caught.value)


def test_a_good_rule_is_given_back() -> None:
    assert STAMP.checked() is STAMP


def test_an_expression_that_would_backtrack_for_ever_takes_linear_time() -> None:
    rule = replace(STAMP, pattern=rb"(a+)+$").checked()
    assert rule_edits([rule], (b"a" * 50_000 + b"b\n") * 50) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"built at 1\0", "NUL"),
        (b"built at 1\n" + b"x" * (MAX_LINE_BYTES + 1), "line"),
        (b"built at 1\n" * (MAX_MATCHES + 1), "times"),
        (b" " * ((64 << 20) + 1), "MiB"),
    ],
    ids=["binary", "a long line", "many matches", "a large file"],
)
def test_texts_over_a_bound_are_declined(text: bytes, why: str) -> None:
    with pytest.raises(Declined, match=why):
        rule_edits([STAMP], text)


def test_a_rule_that_would_go_on_matching_is_declined() -> None:
    with pytest.raises(Declined, match="filled in"):
        rule_edits([replace(STAMP, pattern=b"ab", fill=b"a")], b"abb\n")


@settings(deadline=None)
@given(
    strategies.binary(max_size=200),
    strategies.sampled_from([b"a+", b"[0-9]", b"a.c", rb"\bx", b"b$", b"(?i)Q+"]),
    strategies.binary(min_size=1, max_size=3),
)
def test_any_text_is_made_canonical_or_declined(text: bytes, pattern: bytes, fill: bytes) -> None:
    rule = replace(STAMP, pattern=pattern, fill=fill)
    with suppress(Declined):
        followed(text, rule)
