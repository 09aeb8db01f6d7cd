"""The messages of Sparkplug B for Google's Protocol Buffers: of its schema, the fields that are used here."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELDS = {
    "Metric": (
        ("name", 1, "STRING"), ("alias", 2, "UINT64"), ("timestamp", 3, "UINT64"), ("datatype", 4, "UINT32"),
        ("is_historical", 5, "BOOL"), ("is_transient", 6, "BOOL"), ("is_null", 7, "BOOL"), ("int_value", 10, "UINT32"),
        ("long_value", 11, "UINT64"), ("float_value", 12, "FLOAT"), ("double_value", 13, "DOUBLE"),
        ("boolean_value", 14, "BOOL"), ("string_value", 15, "STRING"), ("bytes_value", 16, "BYTES"),
    ),
    "Payload": (("timestamp", 1, "UINT64"), ("metrics", 2, "Metric"), ("seq", 3, "UINT64"), ("uuid", 4, "STRING")),
}  # fmt: skip


def _payload() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b_of_tests.proto", package="spb", syntax="proto2")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            made = message.field.add(name=field, number=number, label=1)
            if kind in _FIELDS:
                made.label, made.type, made.type_name = 3, 11, f".spb.{kind}"
            else:
                made.type = getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("spb.Payload"))


Payload = _payload()
_VALUES = {3: "int_value", 4: "long_value", 10: "double_value", 11: "boolean_value", 12: "string_value"}


def read(raw: bytes) -> tuple[int | None, dict[str, Any], set[str]]:
    """A payload's seq, its metrics by name, and the names of those that are historical. Raises what protobuf raises."""
    message = Payload.FromString(raw)
    values = {one.name: None if one.is_null else getattr(one, _VALUES[one.datatype]) for one in message.metrics}
    seq = message.seq if message.HasField("seq") else None
    return seq, values, {one.name for one in message.metrics if one.is_historical}
