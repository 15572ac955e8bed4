"""The Capabilities service: what this server does, and no more."""

from __future__ import annotations

from dataclasses import dataclass

from access.identity import Right, current_identity
from cas.digest import DigestFunction
from cas.splitting import Chunkings
from cas.wire import TO_WIRE
from protos import remote_execution_pb2 as reapi, remote_execution_pb2_grpc, semver_pb2
from re_server.compression.codecs import CODECS
from re_server.instances import Instances
from re_server.rpc import Context
from worker.command import NODE_PROPERTIES


@dataclass(frozen=True, slots=True)
class CapabilitiesService(remote_execution_pb2_grpc.CapabilitiesServicer):
    """build.bazel.remote.execution.v2.Capabilities.

    max_batch_bytes: as announced; clients cut their batches by it. max_blob_bytes: of an upload,
    0 for no limit. executes: whether the Execution service is served too. chunkings: how blobs are
    cut, None where they are not.
    """

    instances: Instances
    max_batch_bytes: int
    max_blob_bytes: int
    executes: bool
    chunkings: Chunkings | None

    async def GetCapabilities(
        self, request: reapi.GetCapabilitiesRequest, context: Context
    ) -> reapi.ServerCapabilities:
        """Tell what the caller may do: a client that is told it may not execute does not try."""
        caller = current_identity.get()
        default = self.instances.find(request.instance_name).digest_function
        # The instance's own function first: clients that take the first one then agree with it.
        functions = [default, *sorted(set(DigestFunction) - {default})]
        capabilities = reapi.ServerCapabilities(
            cache_capabilities=reapi.CacheCapabilities(
                digest_functions=[TO_WIRE[function] for function in functions],
                action_cache_update_capabilities=reapi.ActionCacheUpdateCapabilities(
                    update_enabled=any(
                        caller.may(right, request.instance_name)
                        for right in (Right.CACHE_WRITE, Right.CACHE_PROPOSE)
                    )
                ),
                max_batch_total_size_bytes=self.max_batch_bytes,
                symlink_absolute_path_strategy=reapi.SymlinkAbsolutePathStrategy.ALLOWED,
                supported_compressors=[codec.number for codec in CODECS],
                supported_batch_update_compressors=[codec.number for codec in CODECS],
                max_cas_blob_size_bytes=self.max_blob_bytes,
            ),
            low_api_version=semver_pb2.SemVer(major=2, minor=0),
            high_api_version=semver_pb2.SemVer(major=2, minor=11),
        )
        if self.chunkings is not None:
            _announce(self.chunkings, capabilities.cache_capabilities)
        if self.executes:
            capabilities.execution_capabilities.CopyFrom(
                reapi.ExecutionCapabilities(
                    digest_function=TO_WIRE[default],
                    digest_functions=[TO_WIRE[function] for function in functions],
                    exec_enabled=caller.may(Right.EXECUTE, request.instance_name),
                    supported_node_properties=NODE_PROPERTIES,
                    execution_priority_capabilities=reapi.PriorityCapabilities(
                        priorities=[
                            reapi.PriorityCapabilities.PriorityRange(
                                min_priority=-(1 << 31), max_priority=(1 << 31) - 1
                            )
                        ]
                    ),
                )
            )
        return capabilities


def _announce(chunkings: Chunkings, cache: reapi.CacheCapabilities) -> None:
    fast, rep_max = chunkings.fast_cdc, chunkings.rep_max_cdc
    cache.split_blob_support = cache.splice_blob_support = True
    cache.fast_cdc_2020_params.avg_chunk_size_bytes = fast.average_bytes
    cache.fast_cdc_2020_params.seed = fast.seed
    cache.rep_max_cdc_params.min_chunk_size_bytes = rep_max.min_bytes
    cache.rep_max_cdc_params.horizon_size_bytes = rep_max.horizon_bytes
