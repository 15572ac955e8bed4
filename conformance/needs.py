"""What checks need of a server's announcements. Each returns why it is not there, or nothing."""

from __future__ import annotations

from conformance.check import Need
from conformance.connection import announced_functions
from conformance.target import Target
from protos import remote_execution_pb2 as reapi


def cache(target: Target) -> str:
    announced = target.capabilities.HasField("cache_capabilities")
    return "" if announced else "no cache_capabilities are announced"


def updates(target: Target) -> str:
    enabled = target.cache.action_cache_update_capabilities.update_enabled
    return "" if enabled else "update_enabled is false"


def no_updates(target: Target) -> str:
    return "" if updates(target) else "update_enabled is true"


def several_segments(target: Target) -> str:
    several = "/" in target.instance
    return "" if several else "the instance's name has no slash in it (--instance a/b)"


def execution(target: Target) -> str:
    return "" if target.execution.exec_enabled else "exec_enabled is false"


def version(major: int, minor: int) -> Need:
    """Need a version of the protocol from which on the rule holds."""

    def need(target: Target) -> str:
        high = target.capabilities.high_api_version
        if (high.major, high.minor) >= (major, minor):
            return ""
        return f"high_api_version is {high.major}.{high.minor}, the rule is of {major}.{minor}"

    return need


def old_clients(target: Target) -> str:
    """Need a server for clients of 2.0, whose fields later versions deprecate."""
    said = target.capabilities
    lowest = said.low_api_version
    if said.HasField("deprecated_api_version"):
        lowest = said.deprecated_api_version
    if (lowest.major, lowest.minor) <= (2, 0):
        return ""
    return f"the lowest version announced is {lowest.major}.{lowest.minor}, the rule is of 2.0"


def compressor(value: reapi.Compressor.Value.ValueType) -> Need:
    def need(target: Target) -> str:
        name = reapi.Compressor.Value.Name(value)
        return "" if value in target.cache.supported_compressors else f"{name} is not announced"

    return need


def batch_compressor(value: reapi.Compressor.Value.ValueType) -> Need:
    def need(target: Target) -> str:
        name = reapi.Compressor.Value.Name(value)
        announced = value in target.cache.supported_batch_update_compressors
        return "" if announced else f"{name} is not announced for batches"

    return need


def batch_limit(target: Target) -> str:
    limit = target.cache.max_batch_total_size_bytes
    return "" if limit > 0 else "max_batch_total_size_bytes is 0"


def blob_limit(target: Target) -> str:
    limit = target.cache.max_cas_blob_size_bytes
    return "" if limit > 0 else "max_cas_blob_size_bytes is 0"


def splitting(target: Target) -> str:
    return "" if target.cache.split_blob_support else "split_blob_support is false"


def splicing(target: Target) -> str:
    return "" if target.cache.splice_blob_support else "splice_blob_support is false"


def memory(target: Target) -> str:
    return "" if target.pid is not None else "the server's process is not given (--pid)"


def compression(target: Target) -> str:
    return "" if target.cache.supported_compressors else "no supported_compressors are announced"


def batch_compression(target: Target) -> str:
    announced = target.cache.supported_batch_update_compressors
    return "" if announced else "no supported_batch_update_compressors are announced"


def several_functions(target: Target) -> str:
    several = len(announced_functions(target.capabilities)) > 1
    return "" if several else "one digest function is announced"


def no_splitting(target: Target) -> str:
    return "" if splitting(target) else "split_blob_support is true"


def no_splicing(target: Target) -> str:
    return "" if splicing(target) else "splice_blob_support is true"


def fast_cdc(target: Target) -> str:
    announced = target.cache.HasField("fast_cdc_2020_params")
    return "" if announced else "fast_cdc_2020_params are not announced"


def rep_max_cdc(target: Target) -> str:
    announced = target.cache.HasField("rep_max_cdc_params")
    return "" if announced else "rep_max_cdc_params are not announced"
