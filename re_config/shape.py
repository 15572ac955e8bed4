"""The schema, looked at from outside: what stands at a path, and what it may be, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec
from msgspec import inspect

from re_config.schema import Config

_STEP = re.compile(r"\.([^.\[]+)|\[([^\]]*)\]")


def root() -> inspect.StructType:
    """Return the type of the whole file."""
    kind = inspect.type_info(Config)
    assert isinstance(kind, inspect.StructType)
    return kind


def bare(kind: inspect.Type) -> inspect.Type:
    """Return `kind` without what is only said about it."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    return kind


def at(path: str) -> inspect.Type | None:
    """Return the type of what stands at `path`, None where the schema has no such place.

    path: as msgspec writes it, `$.worker.sandbox` or `$.instances[...]`.
    """
    kind: inspect.Type | None = root()
    for name, index in _STEP.findall(path):
        kind = _below(kind, name or index)
    return kind


def _below(kind: inspect.Type | None, name: str) -> inspect.Type | None:
    match kind and bare(kind):
        case inspect.StructType(fields=fields):
            return next((field.type for field in fields if field.encode_name == name), None)
        case inspect.DictType(value_type=value):
            return value
        case inspect.VarTupleType(item_type=item):
            return item
        case inspect.UnionType(types=types):
            below = (_below(one, name) for one in types)
            return next((one for one in below if one is not None), None)
        case _:
            return None


def structs(kind: inspect.Type) -> list[inspect.StructType]:
    """Return the tables that `kind` may be: none, one, or several that a tag tells apart."""
    kind = bare(kind)
    if isinstance(kind, inspect.StructType):
        return [kind]
    if isinstance(kind, inspect.UnionType):
        return [one for one in map(bare, kind.types) if isinstance(one, inspect.StructType)]
    return []


def field_names(kind: inspect.StructType) -> list[str]:
    """Return the fields that a table of this type may have, its tag included."""
    tag = [kind.tag_field] if kind.tag_field else []
    return [*tag, *(field.encode_name for field in kind.fields)]


def words(kind: inspect.Type) -> str:
    """Say what a value of this type is: `integer >= 1`, `"process" or "fsync"`."""
    match kind:
        case inspect.Metadata(type=inner, extra_json_schema=said):
            return str((said or {}).get("description") or words(inner))
        case inspect.VarTupleType(item_type=item):
            return f"array ({words(item)})"
        case inspect.DictType(value_type=value):
            return f"table of names, each {words(value)}"
        case inspect.UnionType(types=types):
            return " or ".join(words(one) for one in types)
        case inspect.StructType():
            return "table"
        case _:
            return _scalar(kind)


def _scalar(kind: inspect.Type) -> str:
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "integer" + _range(kind)
        case inspect.FloatType():
            return "number" + _range(kind)
        case inspect.EnumType(cls=cls):
            return _either(member.value for member in cls)
        case inspect.LiteralType(values=values):
            return _either(values)
        case _:
            return "string"


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    bounds = ((">", kind.gt), (">=", kind.ge), ("<", kind.lt), ("<=", kind.le))
    said = [f"{sign} {bound}" for sign, bound in bounds if bound is not None]
    return " " + " and ".join(said) if said else ""


def _either(values: Iterable[object]) -> str:
    return " or ".join(msgspec.json.encode(value).decode() for value in values)
