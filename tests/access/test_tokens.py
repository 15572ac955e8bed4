from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from access.tokens import (
    InvalidTokenFile,
    hashed,
    new_token,
    parse_tokens,
    read_tokens,
    token_line,
)
from re_config.load import InvalidConfig, parse
from re_server.access_assembly import authenticating
from tests.re_cli.command import Holdfast

PAGE = Path(__file__).parents[2] / "docs" / "security.md"


def test_a_token_is_random_and_its_line_has_the_hash_alone() -> None:
    token, other = new_token(), new_token()
    assert token != other
    line = token_line("alice", token)
    assert token not in line
    assert parse_tokens(line, "tokens") == {hashed(token): "alice"}


def test_a_name_may_have_two_tokens_so_that_one_can_follow_the_other() -> None:
    lines = "\n".join(["# a note", "", *(token_line("ci", new_token()) for _ in range(2))])
    assert list(parse_tokens(lines, "tokens").values()) == ["ci", "ci"]


@pytest.mark.parametrize("line", ["alice", "alice x", f"alice {'A' * 64}", f"a/b {'a' * 64}"])
def test_a_line_that_is_none_is_named_and_not_repeated(tmp_path: Path, line: str) -> None:
    (tmp_path / "tokens").write_text(f"# one\n{line}\n")
    with pytest.raises(InvalidTokenFile, match="tokens, line 2") as caught:
        read_tokens(tmp_path / "tokens")
    assert line not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "-x", "x" * 200, "#x"])
def test_a_name_that_would_break_the_file_is_refused(name: str) -> None:
    with pytest.raises(InvalidTokenFile, match="cannot name a token"):
        token_line(name, new_token())


def test_the_command_prints_the_token_and_its_line_apart() -> None:
    done = Holdfast("127.0.0.1:1")("token", "new", "alice")
    assert done.status == 0
    (token,) = done.lines
    assert token_line("alice", token) in done.stderr
    assert token not in done.stderr
    assert Holdfast("127.0.0.1:1")("token", "new", "a b").status == 2


async def test_a_file_of_tokens_that_cannot_be_used_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("nonsense")
    for name, told in (("absent", "access.tokens .*absent"), ("bad", "access.tokens: .*line 1")):
        text = (
            f'access.tokens = "{tmp_path}/{name}"\n'
            '[[access.grants]]\nwho = ["everyone"]\nrights = ["reader"]\n'
        )
        with pytest.raises(InvalidConfig, match=told):
            async with authenticating(parse(text, "x").access):
                pass


def examples() -> list[str]:
    return [block.split("```")[0] for block in PAGE.read_text().split("```toml\n")[1:]]


@pytest.mark.parametrize("number", range(3))
def test_the_usual_setups_are_short_and_right(number: int) -> None:
    text = examples()[number]
    assert len(text.splitlines()) < 15
    config = parse(text, "docs/security.md")
    assert config.access.is_on
    assert tomllib.loads(text)["server"]["listen"] == "0.0.0.0:8980"


def test_the_page_has_three_setups() -> None:
    assert len(examples()) == 3
