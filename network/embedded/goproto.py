"""Parsing protobuf with the words of Go's parser, which Fabric passes on to its callers.

After google.golang.org/protobuf internal/impl/decode.go and encoding/protowire. Go says one of two
things of bytes that are no message: that the wire format is broken, or that a string is no UTF-8;
of several faults it names the first. Python's parser says neither.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

WIRE_FORMAT = "proto: cannot parse invalid wire-format data"
NO_UTF8 = "string field contains invalid UTF-8"

_VARINT, _FIXED64, _BYTES, _START_GROUP, _END_GROUP, _FIXED32 = range(6)
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_MOST_GROUPS = 10_000


class GoDecodeError(DecodeError):
    """The bytes are no message of their type; the text is Go's."""


class _WireFormatError(Exception):
    pass


class _StringError(Exception):
    pass


def parse(message_type: Any, raw: bytes) -> Any:
    """The message in `raw`. Raises GoDecodeError."""
    try:
        return message_type.FromString(raw)
    except DecodeError as error:
        raise GoDecodeError(fault(message_type, raw)) from error


def unary(error: GoDecodeError) -> str:
    """What grpc-go says of a call whose request can't be parsed: INTERNAL with this."""
    return f"grpc: error unmarshalling request: {error}"


def streamed(error: GoDecodeError) -> str:
    """As `unary`, of a message of a stream, a stream's only request included."""
    return f"grpc: failed to unmarshal the received message: {error}"


def fault(message_type: Any, raw: bytes) -> str:
    """What Go says of bytes that `message_type` can't be parsed from."""
    try:
        _message(message_type.DESCRIPTOR, memoryview(raw))
    except _StringError:
        return NO_UTF8
    except _WireFormatError:
        pass
    return WIRE_FORMAT


def _message(descriptor: Any, data: memoryview) -> None:
    """Go through a message's fields in their order. Raises what is wrong first."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29 or kind == _END_GROUP:
            raise _WireFormatError
        end = _value_end(data, at, number, kind, _MOST_GROUPS)
        field = descriptor.fields_by_number.get(number)
        if kind == _BYTES and field is not None:
            _, start = _varint(data, at)
            _field(field, data[start:end])
        at = end


def _field(field: Any, data: memoryview) -> None:
    if field.type == FieldDescriptor.TYPE_STRING:
        try:
            bytes(data).decode()
        except UnicodeDecodeError as error:
            raise _StringError from error
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        _message(field.message_type, data)


def _value_end(data: memoryview, at: int, number: int, kind: int, depth: int) -> int:
    """Where a field's value ends (protowire ConsumeFieldValue)."""
    if kind == _VARINT:
        return _varint(data, at)[1]
    if kind == _BYTES:
        length, at = _varint(data, at)
        end = at + length
    elif kind in _FIXED_SIZES:
        end = at + _FIXED_SIZES[kind]
    elif kind == _START_GROUP and depth:
        return _group_end(data, at, number, depth)
    else:
        raise _WireFormatError
    if end > len(data):
        raise _WireFormatError
    return end


def _group_end(data: memoryview, at: int, number: int, depth: int) -> int:
    while True:
        tag, at = _varint(data, at)
        inner, kind = tag >> 3, tag & 7
        if not 0 < inner < 1 << 29:
            raise _WireFormatError
        if kind == _END_GROUP:
            if inner != number:
                raise _WireFormatError
            return at
        at = _value_end(data, at, inner, kind, depth - 1)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """(value, where it ends). Raises _WireFormatError beyond 64 bits."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, at
    raise _WireFormatError
