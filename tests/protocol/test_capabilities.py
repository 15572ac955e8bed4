from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest

from protos import remote_execution_pb2 as reapi
from tests.protocol.actions import command, put_action
from tests.protocol.blobs import ALL_FUNCTIONS, SHA256
from tests.protocol.peer import CALL_SECONDS, Peer, connected, refused, unexecuted
from tests.serving import serving

KEYWORDS = (
    "blobs", "uploads", "actions", "actionResults", "operations", "capabilities",
    "compressed-blobs",
)  # fmt: skip


def capabilities(
    peer: Peer, *, metadata: Sequence[tuple[str, str | bytes]] = ()
) -> reapi.ServerCapabilities:
    request = reapi.GetCapabilitiesRequest(instance_name=peer.instance)
    return peer.capabilities.GetCapabilities(
        request, timeout=CALL_SECONDS, metadata=tuple(metadata)
    )


def test_versions_from_2_0_on_are_served(peer: Peer) -> None:
    # REAPI rule: the range of versions is announced; Bazel before 5 speaks 2.0 alone.
    answer = capabilities(peer)
    assert (answer.low_api_version.major, answer.low_api_version.minor) == (2, 0)
    assert answer.high_api_version.major == 2
    assert answer.high_api_version.minor >= 3


def test_the_digest_functions_announced_are_those_that_work(peer: Peer) -> None:
    announced = set(capabilities(peer).cache_capabilities.digest_functions)
    assert announced == set(ALL_FUNCTIONS)
    for function in ALL_FUNCTIONS:
        stored = peer.using(function).put_one(b"one blob of each function")
        assert peer.using(function).has(stored)


def test_the_execution_function_is_one_of_those_that_execution_announces(peer: Peer) -> None:
    # REAPI rule: ExecutionCapabilities.digest_function is never UNKNOWN and stands in
    # digest_functions.
    execution = capabilities(peer).execution_capabilities
    assert execution.exec_enabled
    assert execution.digest_function == SHA256
    assert set(execution.digest_functions) == set(ALL_FUNCTIONS)


@pytest.mark.parametrize(
    ("instance", "expected"),
    [
        ("", SHA256),
        ("blake3", reapi.DigestFunction.BLAKE3),
        ("sha1", reapi.DigestFunction.SHA1),
        ("gitsha1", reapi.DigestFunction.GITSHA1),
    ],
)
def test_execution_names_the_instances_own_function(
    peer: Peer, instance: str, expected: reapi.DigestFunction.Value.ValueType
) -> None:
    execution = capabilities(peer.at(instance)).execution_capabilities
    assert execution.digest_function == expected


def test_the_node_properties_announced_are_those_that_are_told(peer: Peer) -> None:
    # REAPI rule: a property that is not recognised is INVALID_ARGUMENT.
    announced = capabilities(peer).execution_capabilities.supported_node_properties
    assert list(announced) == ["mtime", "unix_mode"]
    of = command("echo 1 > out", outputs=["out"])
    of.output_node_properties[:] = announced
    (output,) = peer.execute(put_action(peer, of)).result.output_files
    assert output.node_properties.mtime.seconds > 0
    assert output.node_properties.unix_mode.value == 0o644
    of.output_node_properties[:] = ["xattr"]
    status = unexecuted(peer, put_action(peer, of))
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "xattr" in status.message


def test_times_that_are_told_are_no_difference_in_mode_strict(peer: Peer) -> None:
    of = command("mkdir d; touch d/f", outputs=["d"])
    of.output_node_properties[:] = ["mtime"]
    strict = peer.at("strict")
    action = put_action(strict, of)
    first, second = (strict.execute(action, skip_cache_lookup=True).result for _ in range(2))
    assert first.output_directories[0].tree_digest != second.output_directories[0].tree_digest
    assert (first.exit_code, second.exit_code) == (0, 0)


def test_results_may_be_uploaded(peer: Peer) -> None:
    assert capabilities(peer).cache_capabilities.action_cache_update_capabilities.update_enabled


def test_the_batch_limit_announced_fits_into_what_grpc_clients_accept(peer: Peer) -> None:
    # REAPI rule: 0 means no limit, but gRPC's own of 4 MiB still holds, so a real one is announced.
    limit = capabilities(peer).cache_capabilities.max_batch_total_size_bytes
    assert 0 < limit < 4 << 20


def test_every_compressor_is_announced_for_streams_and_for_batches(peer: Peer) -> None:
    # REAPI rule: what is announced is served, and IDENTITY need not be.
    cache = capabilities(peer).cache_capabilities
    announced = [reapi.Compressor.ZSTD, reapi.Compressor.BROTLI, reapi.Compressor.DEFLATE]
    assert list(cache.supported_compressors) == announced
    assert list(cache.supported_batch_update_compressors) == announced


def test_no_bound_on_a_blob_is_announced_where_there_is_none(peer: Peer) -> None:
    assert capabilities(peer).cache_capabilities.max_cas_blob_size_bytes == 0


def test_blobs_are_split_and_spliced_as_the_protocol_recommends(peer: Peer) -> None:
    # REAPI rules: the recommended values of FastCdc2020Params and RepMaxCdcParams.
    cache = capabilities(peer).cache_capabilities
    assert cache.split_blob_support
    assert cache.splice_blob_support
    assert cache.fast_cdc_2020_params == reapi.FastCdc2020Params(avg_chunk_size_bytes=512 << 10)
    assert cache.rep_max_cdc_params == reapi.RepMaxCdcParams(
        min_chunk_size_bytes=256 << 10, horizon_size_bytes=8 * (256 << 10)
    )


def test_the_strategy_for_absolute_symlinks_is_named(peer: Peer) -> None:
    # REAPI rule: UNKNOWN is no strategy.
    strategy = capabilities(peer).cache_capabilities.symlink_absolute_path_strategy
    assert strategy in {
        reapi.SymlinkAbsolutePathStrategy.ALLOWED,
        reapi.SymlinkAbsolutePathStrategy.DISALLOWED,
    }


def test_every_instance_of_the_configuration_is_served(peer: Peer) -> None:
    for instance in ("", "a/b", "blake3"):
        assert capabilities(peer.at(instance)).cache_capabilities.digest_functions


@pytest.mark.parametrize("keyword", KEYWORDS)
@pytest.mark.parametrize("form", ["{}", "a/{}", "{}/b"])
def test_an_instance_name_with_a_keyword_in_it_is_refused(
    peer: Peer, keyword: str, form: str
) -> None:
    # REAPI rule: no segment of an instance name is one of the keywords of resource names.
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming=keyword):
        capabilities(peer.at(form.format(keyword)))


def test_an_instance_that_is_not_served_is_refused_by_name(peer: Peer) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT, naming="nobody/here"):
        capabilities(peer.at("nobody/here"))


def test_a_cache_without_execution_announces_none(tmp_path: Path) -> None:
    # REAPI rule: an endpoint that is a cache alone returns no execution capabilities.
    with serving(tmp_path, "execution.enabled = false") as server, connected(server.grpc) as peer:
        answer = capabilities(peer)
        assert answer.HasField("cache_capabilities")
        assert not answer.HasField("execution_capabilities")
        blob = peer.put_one(b"still a cache")
        assert peer.read(blob) == b"still a cache"
        with refused(grpc.StatusCode.UNIMPLEMENTED):
            peer.execute(blob)


METADATA = "build.bazel.remote.execution.v2.requestmetadata-bin"


@pytest.mark.parametrize("value", [b"", b"\xff\xff\xff\xff", b"\x0a", bytes(range(256))], ids=repr)
def test_request_metadata_that_cannot_be_read_does_no_harm(peer: Peer, value: bytes) -> None:
    # REAPI rule: RequestMetadata is never required and never breaks a call.
    assert capabilities(peer, metadata=[(METADATA, value)]).cache_capabilities.digest_functions
