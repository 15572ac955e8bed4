"""What a server says of itself."""

from __future__ import annotations

from conformance import methods, needs
from conformance.check import MUST, SHOULD, Section
from conformance.digests import FUNCTIONS
from conformance.target import Target
from conformance.violation import expect, refused
from protos import remote_execution_pb2 as reapi

check = Section("capabilities")

_FUNCTION = reapi.DigestFunction
_KNOWN_VERSIONS = (2,)


async def _capabilities(target: Target) -> reapi.ServerCapabilities:
    request = reapi.GetCapabilitiesRequest(instance_name=target.instance)
    return await target.call(methods.GET_CAPABILITIES, request)


@check(
    MUST,
    "A server that serves a cache announces cache_capabilities, one that executes announces "
    "execution_capabilities; one at least there is.",
    source="Capabilities.GetCapabilities, l.570-580",
)
async def something_is_announced(target: Target) -> None:
    got = await _capabilities(target)
    announced = got.HasField("cache_capabilities") or got.HasField("execution_capabilities")
    expect(announced, "neither cache_capabilities nor execution_capabilities are set")


@check(
    MUST,
    "The range of versions is there, in order, and includes a version 2.",
    source="ServerCapabilities, l.2073-2075",
)
async def versions_are_in_order(target: Target) -> None:
    got = await _capabilities(target)
    expect(got.HasField("low_api_version"), "low_api_version is not set")
    expect(got.HasField("high_api_version"), "high_api_version is not set")
    low, high = (
        (version.major, version.minor, version.patch)
        for version in (got.low_api_version, got.high_api_version)
    )
    expect(low <= high, f"low_api_version {low} is above high_api_version {high}")
    expect(
        any(low[0] <= major <= high[0] for major in _KNOWN_VERSIONS),
        f"versions {low} to {high} do not include version 2 of the protocol",
    )


@check(
    MUST,
    "A deprecated_api_version, where it is set, is not above low_api_version.",
    source="ServerCapabilities, l.2073-2075",
)
async def deprecated_versions_come_first(target: Target) -> None:
    got = await _capabilities(target)
    if not got.HasField("deprecated_api_version"):
        return
    old, low = (
        (version.major, version.minor, version.patch)
        for version in (got.deprecated_api_version, got.low_api_version)
    )
    expect(old <= low, f"deprecated_api_version {old} is above low_api_version {low}")


@check(
    MUST,
    "A cache announces at least one digest function, and never UNKNOWN.",
    source="DigestFunction.UNKNOWN, l.2096-2097; CacheCapabilities.digest_functions, l.2285-2287",
    needs=[needs.cache],
)
async def digest_functions_are_named(target: Target) -> None:
    functions = (await _capabilities(target)).cache_capabilities.digest_functions
    expect(functions, "cache_capabilities.digest_functions is empty")
    expect(_FUNCTION.UNKNOWN not in functions, "UNKNOWN is among digest_functions")


@check(
    SHOULD,
    "No digest function is announced twice.",
    source="CacheCapabilities.digest_functions, l.2285-2287",
    needs=[needs.cache],
)
async def digest_functions_are_unique(target: Target) -> None:
    functions = (await _capabilities(target)).cache_capabilities.digest_functions
    expect(len(set(functions)) == len(functions), f"digest_functions repeats itself: {functions}")


@check(
    SHOULD,
    "Every announced compressor is one that the protocol has.",
    source="Compressor, l.2260-2261",
    needs=[needs.cache],
)
async def compressors_are_known(target: Target) -> None:
    got = (await _capabilities(target)).cache_capabilities
    known = set(reapi.Compressor.Value.values())
    announced = {*got.supported_compressors, *got.supported_batch_update_compressors}
    expect(announced <= known, f"unknown compressors are announced: {announced - known}")


@check(
    SHOULD,
    "Bounds of sizes are not negative: 0 says that there is none.",
    source="CacheCapabilities, l.2283-2284",
    needs=[needs.cache],
)
async def bounds_are_not_negative(target: Target) -> None:
    got = (await _capabilities(target)).cache_capabilities
    expect(got.max_batch_total_size_bytes >= 0, "max_batch_total_size_bytes is negative")
    expect(got.max_cas_blob_size_bytes >= 0, "max_cas_blob_size_bytes is negative")


@check(
    SHOULD,
    "How absolute targets of symlinks are treated is said: ALLOWED or DISALLOWED.",
    source="SymlinkAbsolutePathStrategy, l.2242-2243",
    needs=[needs.cache],
)
async def absolute_symlinks_are_decided(target: Target) -> None:
    strategy = (await _capabilities(target)).cache_capabilities.symlink_absolute_path_strategy
    expect(strategy != reapi.SymlinkAbsolutePathStrategy.UNKNOWN, "the strategy is UNKNOWN")


@check(
    MUST,
    "Ranges of priorities begin with the smaller number.",
    source="PriorityCapabilities.PriorityRange, l.2230-2231",
)
async def priorities_are_in_order(target: Target) -> None:
    got = await _capabilities(target)
    ranges = [
        *got.cache_capabilities.cache_priority_capabilities.priorities,
        *got.execution_capabilities.execution_priority_capabilities.priorities,
    ]
    for each in ranges:
        expect(each.min_priority <= each.max_priority, "min_priority is above max_priority")


@check(
    MUST,
    "ExecutionCapabilities.digest_function is not UNKNOWN.",
    source="ExecutionCapabilities.digest_function, l.2435-2439",
    needs=[needs.execution],
)
async def execution_names_its_function(target: Target) -> None:
    function = (await _capabilities(target)).execution_capabilities.digest_function
    expect(function != _FUNCTION.UNKNOWN, "digest_function is UNKNOWN")


@check(
    MUST,
    "ExecutionCapabilities.digest_functions, where it is set, contains digest_function.",
    source="ExecutionCapabilities.digest_functions, l.2450-2462",
    needs=[needs.execution],
)
async def execution_lists_its_function(target: Target) -> None:
    got = (await _capabilities(target)).execution_capabilities
    listed = not got.digest_functions or got.digest_function in got.digest_functions
    expect(listed, f"{got.digest_function} is not among {list(got.digest_functions)}")
    expect(_FUNCTION.UNKNOWN not in got.digest_functions, "UNKNOWN is among digest_functions")


@check(
    SHOULD,
    "An endpoint that does not execute returns no execution_capabilities.",
    source="Capabilities.GetCapabilities, l.570-580",
    needs=[needs.cache],
)
async def a_cache_claims_no_execution(target: Target) -> None:
    got = await _capabilities(target)
    if got.execution_capabilities.exec_enabled:
        return
    with refused():
        await target.collect(
            methods.EXECUTE, target.named(reapi.ExecuteRequest(action_digest=target.digest(b"")))
        )
    expect(
        not got.HasField("execution_capabilities"),
        "execution_capabilities are set where nothing is executed",
    )


@check(
    MUST,
    "Splitting and FastCDC: an announced average chunk size is between 1 KiB and 1 MiB.",
    source="FastCdc2020Params.avg_chunk_size_bytes, l.2384-2387",
    needs=[needs.cache],
)
async def fast_cdc_parameters_are_in_range(target: Target) -> None:
    got = (await _capabilities(target)).cache_capabilities
    if got.HasField("fast_cdc_2020_params"):
        average = got.fast_cdc_2020_params.avg_chunk_size_bytes
        expect(1 << 10 <= average <= 1 << 20, f"avg_chunk_size_bytes is {average}")


@check(
    MUST,
    "RepMaxCDC: an announced minimal chunk size is at least 64 bytes.",
    source="RepMaxCdcParams.min_chunk_size_bytes, l.2420-2424",
    needs=[needs.cache],
)
async def rep_max_cdc_parameters_are_in_range(target: Target) -> None:
    got = (await _capabilities(target)).cache_capabilities
    if got.HasField("rep_max_cdc_params"):
        least = got.rep_max_cdc_params.min_chunk_size_bytes
        expect(least >= 64, f"min_chunk_size_bytes is {least}")  # noqa: PLR2004


@check(
    SHOULD,
    "Chunking functions are announced only where blobs can be split or spliced.",
    source="ChunkingFunction, l.2192-2202; CacheCapabilities.split_blob_support, l.2328-2333",
    needs=[needs.cache],
)
async def chunking_functions_have_a_use(target: Target) -> None:
    got = (await _capabilities(target)).cache_capabilities
    if got.HasField("fast_cdc_2020_params") or got.HasField("rep_max_cdc_params"):
        used = got.split_blob_support or got.splice_blob_support
        expect(used, "a chunking function is announced, and neither splitting nor splicing")


@check(
    SHOULD,
    "The capabilities of one instance are the same each time they are asked for.",
    source="Capabilities.GetCapabilities, l.570-580",
)
async def answers_are_stable(target: Target) -> None:
    first, second = await _capabilities(target), await _capabilities(target)
    expect(first == second, "two answers in a row differ")


@check(
    SHOULD,
    "Every announced digest function is one that the protocol has.",
    source="DigestFunction, l.2092-2094",
    needs=[needs.cache],
)
async def digest_functions_are_known(target: Target) -> None:
    functions = (await _capabilities(target)).cache_capabilities.digest_functions
    known = {*FUNCTIONS, _FUNCTION.VSO, _FUNCTION.MURMUR3}
    expect(set(functions) <= known, f"unknown digest functions: {set(functions) - known}")
