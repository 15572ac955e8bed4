"""What a protocol file says on the wire, as lines that can be compared.

Two sources give the same lines: wire_schema.json, which holds the public definitions, and the
descriptors in generated modules. A line is filed under what it is about, so a difference names the
message and field, the enum value or the method.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
)
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

Line = tuple[str, str]  # what it is about, what is said of it


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One field. type: a scalar's name, a full name, or map<key,value>."""

    number: int
    name: str
    type: str
    repeated: bool = False
    optional: bool = False
    oneof: str = ""
    deprecated: bool = False

    def __str__(self) -> str:
        words = [
            "repeated" if self.repeated else "",
            "optional" if self.optional else "",
            self.type,
            self.name,
            f"in oneof {self.oneof}" if self.oneof else "",
            "[deprecated]" if self.deprecated else "",
        ]
        return " ".join(word for word in words if word)


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message. reserved: first and last number of each reserved range."""

    fields: list[Field]
    reserved: list[tuple[int, int]] = []


class Method(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    request: str
    response: str
    client_streaming: bool = False
    server_streaming: bool = False

    def __str__(self) -> str:
        takes = "stream " if self.client_streaming else ""
        gives = "stream " if self.server_streaming else ""
        return f"{takes}{self.request} -> {gives}{self.response}"


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One .proto file; everything in it by its full name. imports: by public path."""

    package: str
    imports: list[str]
    messages: dict[str, Message]
    enums: dict[str, dict[str, int]]
    services: dict[str, dict[str, Method]]


def public_files() -> dict[str, File]:
    """Return the public definitions by path."""
    data = Path(__file__).with_name("wire_schema.json").read_bytes()
    return msgspec.json.decode(data, type=dict[str, File])


def file_of(descriptor: FileDescriptor) -> File:
    """Return what a generated module defines."""
    messages = list(_messages(descriptor.message_types_by_name.values()))
    enums: list[EnumDescriptor] = list(descriptor.enum_types_by_name.values())
    enums += [enum for message in messages for enum in message.enum_types]
    return File(
        package=descriptor.package,
        imports=[dependency.name for dependency in descriptor.dependencies],
        messages={message.full_name: _message(message) for message in messages},
        enums={
            enum.full_name: {value.name: value.number for value in enum.values} for enum in enums
        },
        services={
            service.full_name: {method.name: _method(method) for method in service.methods}
            for service in descriptor.services_by_name.values()
        },
    )


def differences(wanted: File, found: File) -> list[str]:
    """Return a sentence for each thing that `wanted` and `found` do not both say."""
    want, have = dict(_lines(wanted)), dict(_lines(found))
    return [
        f"{about}: public {want.get(about, 'nothing')!r}, ours {have.get(about, 'nothing')!r}"
        for about in sorted(want.keys() | have.keys())
        if want.get(about) != have.get(about)
    ]


def _lines(file: File) -> Iterator[Line]:
    yield "package", file.package
    for name, message in file.messages.items():
        yield f"message {name}", "defined"
        yield f"message {name} reserved", str(sorted(message.reserved))
        for field in message.fields:
            yield f"message {name} field {field.number}", str(field)
    for name, values in file.enums.items():
        yield f"enum {name}", "defined"
        for value, number in values.items():
            yield f"enum {name} value {value}", str(number)
    for name, methods in file.services.items():
        yield f"service {name}", "defined"
        for method, signature in methods.items():
            yield f"service {name} rpc {method}", str(signature)


def _messages(outer: Iterable[Descriptor]) -> Iterator[Descriptor]:
    """Yield `outer` and all that is nested in them, but not the entries of maps."""
    for message in outer:
        if not message.GetOptions().map_entry:
            yield message
            yield from _messages(message.nested_types)


def _message(message: Descriptor) -> Message:
    source = DescriptorProto()
    message.CopyToProto(source)
    optional = {field.number for field in source.field if field.proto3_optional}
    return Message(
        fields=[_field(field, optional=field.number in optional) for field in message.fields],
        reserved=[(part.start, part.end - 1) for part in source.reserved_range],
    )


def _field(field: FieldDescriptor, *, optional: bool) -> Field:
    entry = field.message_type
    is_map = entry is not None and entry.GetOptions().map_entry
    oneof = field.containing_oneof
    if is_map and entry is not None:
        kind = f"map<{_type(entry.fields_by_number[1])},{_type(entry.fields_by_number[2])}>"
    else:
        kind = _type(field)
    return Field(
        number=field.number,
        name=field.name,
        type=kind,
        repeated=field.is_repeated and not is_map,
        optional=optional,
        oneof=oneof.name if oneof is not None and not optional else "",
        deprecated=field.GetOptions().deprecated,
    )


def _type(field: FieldDescriptor) -> str:
    named = field.message_type or field.enum_type
    if named is not None:
        return named.full_name
    scalars = FieldDescriptorProto.Type.DESCRIPTOR.values_by_number
    return scalars[field.type].name.removeprefix("TYPE_").lower()


def _method(method: MethodDescriptor) -> Method:
    return Method(
        request=method.input_type.full_name,
        response=method.output_type.full_name,
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
    )
