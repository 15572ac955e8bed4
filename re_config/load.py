"""From a TOML file to a Config, or to one line that says what is wrong with it."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from access.addresses import split_address
from assets.origins import InvalidOrigin, Origins
from cas.wire import RESERVED_SEGMENTS
from determinism.registry import FORMATS
from determinism.text_rules import InvalidRule, TextRule
from re_config import shape
from re_config.access_faults import access_faults, listening_faults
from re_config.asset_table import Assets
from re_config.schema import Config, Disk
from re_config.table import MIB

# A client cuts its batches by the sizes of blobs alone; digests and framing come on top.
BATCH_HEADROOM_BYTES = MIB
# Buck2 stops reading messages of these services at 4 MiB, outputs and metadata included.
# Source: tonic's default for decoding.
MAX_INLINE_BYTES = 3 * MIB
MAX_PORT = 65535

_PLACE = re.compile(r" - at `(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")


class InvalidConfig(ValueError):
    """The configuration cannot be used. The message names the file, the field, and the way out."""


def load(path: Path | None, *, server: Mapping[str, str] | None = None) -> Config:
    """Read the configuration at `path`; the defaults where it is None. Raises InvalidConfig.

    server: fields of the table `server` that win over the file's.
    """
    if path is None:
        return parse("", "defaults", server=server)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8: {error}"
        raise InvalidConfig(f"{path}: {reason}") from None
    return parse(text, str(path), server=server)


def parse(text: str, name: str, *, server: Mapping[str, str] | None = None) -> Config:
    """Read a configuration from `text`; raise InvalidConfig, which starts with `name`."""
    try:
        values = tomllib.loads(text)
        if server and isinstance(table := values.setdefault("server", {}), dict):
            table.update(server)
        config = msgspec.convert(values, Config)
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"{name}: not TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise InvalidConfig(f"{name}: {error}{_way_out(str(error))}") from None
    fault = next(_faults(config), None)
    if fault is not None:
        raise InvalidConfig(f"{name}: {fault}")
    return config


def expanded(path: str) -> Path:
    """Return a path of the configuration with `~` replaced by the home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InvalidConfig(
            f"{path}: there is no home folder for `~`: write the path out"
        ) from None


def _way_out(message: str) -> str:
    """Say what is allowed where `message` says only what is not."""
    place = _PLACE.search(message)
    path = place["path"] if place else "$"
    if unknown := _UNKNOWN.search(message):
        return _known_fields(path, unknown["name"])
    if "required field `kind`" in message or path.endswith(".kind"):
        kind = shape.at(path.removesuffix(".kind"))
        tags = [f'"{one.tag}"' for one in shape.structs(kind)] if kind else []
        return f"; `kind` is {' or '.join(tags)}"
    if kind := shape.at(path):
        return f"; it is: {shape.words(kind)}"
    return ""


def _known_fields(path: str, unknown: str) -> str:
    kind = shape.at(path)
    names = [name for one in shape.structs(kind) for name in shape.field_names(one)] if kind else []
    if unknown in names:
        return "; it is a field of another `kind`"
    near = difflib.get_close_matches(unknown, names, n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; it may have: {', '.join(names)}"


def _faults(config: Config) -> Iterator[str]:
    """Yield what the types of single fields cannot say."""
    yield from _server_faults(config)
    yield from listening_faults(config.server, config.access)
    yield from access_faults(config)
    yield from _store_faults(config)
    yield from _instance_faults(config)
    yield from _asset_faults(config.assets)
    for table, timed in (("execution", config.execution), ("assets", config.assets)):
        usual, most = timed.default_timeout_seconds, timed.max_timeout_seconds
        if usual > most:
            yield (
                f"`$.{table}.default_timeout_seconds` is {usual:g}: it must be at most "
                f"`max_timeout_seconds`, {most:g}"
            )
    for name in config.instances:
        segments = name.split("/") if name else []
        for segment in segments:
            if not segment or segment in RESERVED_SEGMENTS:
                yield (
                    f'`$.instances` has the name "{name}": its segments must not be empty nor one '
                    f"of {', '.join(sorted(RESERVED_SEGMENTS))}"
                )


def _asset_faults(assets: Assets) -> Iterator[str]:
    for field, origins in (("allow", assets.allow), ("allow_private", assets.allow_private)):
        try:
            Origins.parse(origins, ())
        except InvalidOrigin as error:
            yield f"`$.assets.{field}`: {error}"


def _instance_faults(config: Config) -> Iterator[str]:
    tables = {"default": config.default} | {
        f"instances.{name}": instance for name, instance in config.instances.items()
    }
    known = [format.name for format in FORMATS]
    for table, instance in tables.items():
        for name in instance.formats:
            if name not in known:
                yield f"`$.{table}.formats` names {name!r}: there are {', '.join(known)}"
        if instance.confirmations == 1:
            yield (
                f"`$.{table}.confirmations` is 1: a result that nobody confirms would be "
                "everyone's; it must be 0 or at least 2"
            )
        for rule in instance.text_rules:
            try:
                TextRule(
                    name=rule.name,
                    pattern=rule.pattern.encode(),
                    fill=rule.fill.encode(),
                    outputs=rule.outputs,
                    mnemonic=rule.mnemonic,
                ).checked()
            except InvalidRule as error:
                yield f"`$.{table}.text_rules`: {error}"


def _server_faults(config: Config) -> Iterator[str]:
    server = config.server
    for field, address in (("listen", server.listen), ("web", server.web)):
        _, port = split_address(address)
        if port > MAX_PORT:
            yield f"`$.server.{field}` is {address}: a port is at most {MAX_PORT}"
    if server.listen == server.web and split_address(server.web)[1]:
        yield f"`$.server.web` is {server.web}, which `$.server.listen` takes already"
    room = server.max_message_bytes - BATCH_HEADROOM_BYTES
    if server.max_batch_bytes > room:
        yield (
            f"`$.server.max_batch_bytes` is {server.max_batch_bytes}: it must be at most "
            f"`max_message_bytes` less {BATCH_HEADROOM_BYTES} for digests and framing, {room}"
        )
    if server.max_inline_bytes > MAX_INLINE_BYTES:
        yield (
            f"`$.server.max_inline_bytes` is {server.max_inline_bytes}: it must be at most "
            f"{MAX_INLINE_BYTES}, since clients refuse replies of over 4 MiB"
        )


def _store_faults(config: Config) -> Iterator[str]:
    store = config.store
    if store.low_water >= store.high_water:
        yield (
            f"`$.store.low_water` is {store.low_water:g}: it must be less than `high_water`, "
            f"{store.high_water:g}"
        )
    least = min(store.max_bytes, Disk().index_bytes)
    if store.inline_bytes and store.index_bytes < least:
        yield (
            f"`$.store.index_bytes` is {store.index_bytes}: blobs up to `inline_bytes` live in the "
            f"index, so with this `max_bytes` it must be at least {least} (it reserves address "
            "space, not disk), or `inline_bytes` be 0"
        )
    if store.path and expanded(store.path) == expanded(config.worker.path):
        yield f"`$.worker.path` is {config.worker.path}, which `$.store.path` takes already"
