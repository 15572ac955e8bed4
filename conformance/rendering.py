"""Messages in a few lines of text, however large they are."""

from __future__ import annotations

from collections.abc import Iterator

from google.longrunning import operations_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from protos import remote_execution_pb2 as reapi

MAX_LINES = 24
MAX_ITEMS = 4  # of a repeated field
MAX_TEXT = 120

_PACKED: tuple[type[Message], ...] = (
    reapi.ExecuteResponse,
    reapi.ExecuteOperationMetadata,
    error_details_pb2.PreconditionFailure,
    error_details_pb2.BadRequest,
    error_details_pb2.RetryInfo,
    error_details_pb2.ErrorInfo,
    error_details_pb2.ResourceInfo,
    error_details_pb2.DebugInfo,
    operations_pb2.OperationInfo,
)


def rendered(message: Message | bytes) -> list[str]:
    """Return at most MAX_LINES lines: the message's name, and its fields."""
    if isinstance(message, bytes):
        return [f"{len(message)} raw bytes: {_value(message)}"]
    lines = [f"{message.DESCRIPTOR.name} {{", *_fields(message, "  "), "}"]
    if len(lines) == 2:  # noqa: PLR2004  the braces alone
        return [f"{message.DESCRIPTOR.name} {{}}"]
    if len(lines) > MAX_LINES:
        return [*lines[: MAX_LINES - 1], f"… {len(lines) - MAX_LINES + 1} more lines"]
    return lines


def cut(text: str, most: int = MAX_TEXT) -> str:
    """Return `text`, or its beginning and how long it is."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def _fields(message: Message, indent: str) -> Iterator[str]:
    if isinstance(message, Any):
        yield from _unpacked(message, indent)
        return
    for field, value in message.ListFields():
        if not field.is_repeated:
            yield from _field(field, value, indent)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            yield f"{indent}{field.name}: {cut(repr(dict(value)))}"
        else:
            for item in value[:MAX_ITEMS]:
                yield from _field(field, item, indent)
            if len(value) > MAX_ITEMS:
                yield f"{indent}… {len(value)} {field.name} in all"


def _field(field: FieldDescriptor, value: object, indent: str) -> Iterator[str]:
    if not isinstance(value, Message):
        enum = field.enum_type
        named = enum.values_by_number.get(value) if enum and isinstance(value, int) else None
        yield f"{indent}{field.name}: {named.name if named else _value(value)}"
    elif isinstance(value, reapi.Digest):
        yield f"{indent}{field.name}: {cut(value.hash, 140)}/{value.size_bytes}"
    else:
        yield f"{indent}{field.name} {{"
        yield from _fields(value, indent + "  ")
        yield f"{indent}}}"


def _unpacked(packed: Any, indent: str) -> Iterator[str]:
    for kind in _PACKED:
        message = kind()
        if packed.Unpack(message):
            yield f"{indent}[{kind.DESCRIPTOR.full_name}]"
            yield from _fields(message, indent)
            return
    yield f"{indent}[{packed.type_url}] {_value(packed.value)}"


def _value(value: object) -> str:
    if isinstance(value, bytes):
        shown = repr(value[:40])[1:]
        return shown if len(value) <= 40 else f"{shown}… ({len(value)} bytes)"  # noqa: PLR2004
    return cut(repr(value))
