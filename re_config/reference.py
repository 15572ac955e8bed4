"""docs/config.md, made from the schema.

Usage: python -m re_config.reference [--check]      (from the project's root)
"""

from __future__ import annotations

import ast
import inspect as python
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
from msgspec import inspect

from cas.digest import DigestFunction
from re_config import (
    access_tables,
    asset_table,
    chunking_tables,
    determinism_tables,
    schema,
    shape,
)
from re_config.determinism_tables import Instance
from re_config.schema import Config
from re_config.toml import to_toml

PAGE = Path(__file__).resolve().parent.parent / "docs" / "config.md"
EXAMPLE = Config(
    instances={
        "": Instance(),
        "main": Instance(),
        "buck2/blake3": Instance(digest_function=DigestFunction.BLAKE3),
    }
)
_HEAD = """\
# Configuration

<!-- Generated from re_config/schema.py by `python -m re_config.reference`:
     change the docstrings there. -->

`holdfast serve --config FILE` reads one TOML file. Every field has a default, so that without a
file, or with an empty one, a complete server runs. A field that is not listed here, a value of
another type and a value out of its range are refused, with the field's path and what is allowed;
`holdfast config check FILE` says so without starting anything, and `holdfast config show` prints
what is in effect.

Sizes are in bytes, times in seconds. `~` is the home folder of who runs the command.

## A complete file

Every value is the default, but for the names of instances.
"""
_RULES = """\
## What must fit together

- `store.low_water` is less than `store.high_water`.
- `store.index_bytes` is at least `store.max_bytes` (or at its default), unless
  `store.inline_bytes` is 0: small blobs live in the index.
- `server.max_batch_bytes` is at most `server.max_message_bytes` less 1 MiB.
- `server.max_inline_bytes` is at most 3 MiB: clients refuse replies of over 4 MiB.
- `execution.default_timeout_seconds` is at most `execution.max_timeout_seconds`.
- `assets.default_timeout_seconds` is at most `assets.max_timeout_seconds`.
- `server.listen` and `server.web` are loopback addresses, unless `server.tls` and `access` are set,
  or `server.allow_insecure_listen` is true.
- `server.tls.certificate` and `key` go together; `client_ca` needs them.
- `access.jwt.keys` needs `issuer` and `audiences`. Grants name only instances that are served, and
  only kinds of callers that there can be.
- `worker.path` is another folder than `store.path`.
- Segments of instance names are not empty, and none of the words that the protocol's resource
  names use: `blobs`, `uploads`, `actions`, `actionResults`, `operations`, `capabilities`,
  `compressed-blobs`.
"""


EACH = "[]"
REQUIRED = "has to be given"


def page() -> str:
    """Return the whole text of docs/config.md."""
    return "\n".join((_HEAD, f"```toml\n{example()}```\n", *_sections(), _RULES))


def example() -> str:
    """Return the example file that stands at the top of the page."""
    said: dict[str, str] = {}
    for name, table in _tables():
        said.setdefault(name, python.getdoc(table.cls) or "")
    return to_toml(EXAMPLE, comment=lambda name: said.get(name, "").partition("\n")[0])


def _tables(
    table: inspect.StructType | None = None, name: str = ""
) -> Iterator[tuple[str, inspect.StructType]]:
    """Yield the tables of the file by name, `instances.NAME` for what a caller names.

    The name of one of which there may be many ends with EACH.
    """
    for field in (table or shape.root()).fields:
        below, path = field.type, f"{name}.{field.encode_name}".removeprefix(".")
        if isinstance(below, inspect.DictType):
            below, path = below.value_type, f"{path}.NAME"
        if isinstance(below, inspect.VarTupleType):
            below, path = below.item_type, f"{path}{EACH}"
        for one in shape.structs(below):
            yield path, one
            yield from _tables(one, path)


def _sections() -> Iterator[str]:
    described = field_docs()
    for name, table in _tables():
        tagged = f' with `kind = "{table.tag}"`' if table.tag_field else ""
        title = f"[[{name.removesuffix(EACH)}]]" if name.endswith(EACH) else f"[{name}]"
        yield f"## `{title}`{tagged}\n"
        owner, _, field = name.removesuffix(".NAME").removesuffix(EACH).rpartition(".")
        if about := described.get(_class_of(owner), {}).get(field):
            yield f"{about}\n"
        yield f"{python.getdoc(table.cls)}\n"
        rows = list(_rows(table, described[table.cls.__name__]))
        if rows:
            yield "| field | what it may be | default | what it does |\n|---|---|---|---|"
            yield "\n".join(rows) + "\n"


def _class_of(table: str) -> str:
    names = {name: kind.cls.__name__ for name, kind in _tables()}
    return names.get(table, Config.__name__)


def _rows(table: inspect.StructType, described: dict[str, str]) -> Iterator[str]:
    for field in table.fields:
        if shape.structs(field.type):
            continue
        cells = [
            f"`{field.encode_name}`",
            shape.words(field.type),
            f"`{_default(field)}`",
            described[field.name],
        ]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: inspect.Field) -> str:
    value = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    elif value is msgspec.NODEFAULT:
        return REQUIRED
    plain = msgspec.to_builtins(value)
    if isinstance(plain, dict):
        inner = ", ".join(f"{name} = {_json(one)}" for name, one in plain.items())
        return f"{{ {inner} }}" if inner else "{}"
    return _json(plain)


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()


@cache
def field_docs() -> dict[str, dict[str, str]]:
    """Return the docstrings that stand behind the fields of the schema's classes, in one line."""
    found: dict[str, dict[str, str]] = {}
    for module in (schema, access_tables, asset_table, determinism_tables, chunking_tables):
        for node in ast.parse(python.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = dict(_documented(node))
    return found


def _documented(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, behind in zip(node.body, node.body[1:], strict=False):
        match field, behind:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, " ".join(text.split())
            case _:
                continue


def main(arguments: list[str]) -> int:
    """Write the page, or with --check say whether it is what would be written."""
    if arguments == ["--check"]:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page():
            return 0
        sys.stderr.write(f"{PAGE} is stale: run `python -m re_config.reference`\n")
        return 1
    if arguments:
        sys.stderr.write(f"{(__doc__ or '').strip()}\n")
        return 2
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
