"""A configuration, written as TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping

import msgspec

from re_config.schema import Config

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(config: Config, *, comment: Callable[[str], str] = lambda table: "") -> str:
    """Write every value of `config`, defaults included, as a file that loads to an equal one.

    comment: returns a line to put in front of a table that is named `worker.sandbox`, or "".
    """
    values: dict[str, object] = msgspec.to_builtins(config)
    return "\n".join(_table(values, (), comment)).strip() + "\n"


def _table(
    values: Mapping[str, object], path: tuple[str, ...], comment: Callable[[str], str]
) -> Iterator[str]:
    plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
    if path and (plain or not values):
        name = ".".join(_key(part) for part in path)
        said = comment(name)
        yield ""
        if said:
            yield f"# {said}"
        yield f"[{name}]"
    for name, value in plain.items():
        yield f"{_key(name)} = {_value(value)}"
    for name, value in values.items():
        if isinstance(value, dict) and (value or path):
            yield from _table(value, (*path, name), comment)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _value(value: object) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(one) for one in value)}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(name)} = {_value(one)}" for name, one in value.items())
        return f"{{ {inner} }}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _string(text: str) -> str:
    """Quote `text`. JSON's escapes are TOML's, but that TOML wants DEL escaped as well."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
