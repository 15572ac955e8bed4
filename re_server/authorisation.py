"""What each method needs: the one table of rights over everything that is served.

The instance is read from what the method itself is given, by the parser that the method itself
uses, so that what is checked and what is done cannot be two things.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from google.longrunning import operations_pb2

from access.admission import Cost
from access.identity import Identity, Place, Right, Scope
from access.policy import ANONYMOUS
from access.refusal import Doubt, NotAuthenticated, RightMissing, where
from protos import admin_pb2, bytestream_pb2, logstream_pb2, remote_execution_pb2 as reapi
from re_server.log_streams import parse_log_name
from re_server.resource_name import read_instance, write_instance
from re_server.write_message import parse_write_message
from scheduler.dispatch import Dispatcher
from scheduler.register import OperationNotFound

Request: TypeAlias = Any
"""What a method is given: a message, or bytes where the method is a raw one."""

EVERY = tuple(Right)


@dataclass(frozen=True, slots=True)
class Needed:
    """What a method needs.

    rights: one of these. place: where, by the request; of a stream, by its first message.
    each: every message of a stream is looked at. paced: a client is not to be waited for for ever,
    but if the stream's first message is one that `patient` says may be followed by silence.
    """

    rights: tuple[Right, ...]
    place: Callable[[Request], Place]
    cost: Cost = Cost.ORDINARY
    each: bool = False
    paced: bool = False
    patient: Callable[[Request], bool] = field(default=lambda _: False)


def authorise(identity: Identity, needed: Needed, place: Place, served: tuple[str, ...]) -> None:
    """Raise RightMissing, or NotAuthenticated where credentials could help."""
    for right in needed.rights:
        if identity.may_in(right, place, served):
            return
    if identity.name == ANONYMOUS:
        named = " or ".join(f"`{right}`" for right in needed.rights)
        raise NotAuthenticated(
            Doubt.ABSENT,
            f"the call has no credentials, and callers without have no right {named} in "
            f"{where(place)}: send the header `authorization: Bearer TOKEN`",
        )
    raise RightMissing(identity.name, needed.rights, place)


def table(dispatcher: Dispatcher | None) -> Mapping[str, Needed]:
    """Return what each method needs, by `Service/Method`. dispatcher: None: nothing is executed."""
    return {**_STORE, **_CACHE, **_ASSETS, **_ADMIN, **_execution(dispatcher)}


def _named(request: Request) -> Place:
    instance: str = request.instance_name
    return instance


def _raw(request: bytes) -> Place:
    """Read the instance name, field 1, of a request that is not parsed yet.

    By protobuf itself, with a message that has no other field: the last of several counts, in
    whatever form and order they come, as it does in the whole message.
    """
    return reapi.GetCapabilitiesRequest.FromString(request).instance_name


def _read(request: bytes) -> Place:
    name = bytestream_pb2.ReadRequest.FromString(request).resource_name
    log = parse_log_name(name)
    return log.parent if log else read_instance(name)


def _written(message: bytes) -> Place:
    return _of_upload(parse_write_message(message).resource_name)


def _queried(request: bytestream_pb2.QueryWriteStatusRequest) -> Place:
    return _of_upload(request.resource_name)


def _of_upload(name: str) -> Place:
    log = parse_log_name(name)
    return log.parent if log else write_instance(name)


def _is_log(message: bytes) -> bool:
    """Tell whether what is written may be silent for as long as it likes."""
    return parse_log_name(parse_write_message(message).resource_name) is not None


def _parent(request: logstream_pb2.CreateLogStreamRequest) -> Place:
    return request.parent


def _anywhere(request: Request) -> Place:
    return Scope.ANY


def _everywhere(request: Request) -> Place:
    return Scope.ALL


def _filtered(request: Request) -> Place:
    chosen: admin_pb2.PinFilter | admin_pb2.ProposalFilter = request.filter
    return chosen.instance_name if chosen.HasField("instance_name") else Scope.ALL


def _listed(request: operations_pb2.ListOperationsRequest) -> Place:
    return request.name or Scope.ALL


_STORE = {
    "Capabilities/GetCapabilities": Needed(EVERY, _named, Cost.CHEAP),
    "ContentAddressableStorage/FindMissingBlobs": Needed(
        (Right.CAS_READ, Right.CAS_WRITE), _raw, Cost.CHEAP
    ),
    "ContentAddressableStorage/BatchUpdateBlobs": Needed((Right.CAS_WRITE,), _raw, Cost.HEAVY),
    "ContentAddressableStorage/BatchReadBlobs": Needed((Right.CAS_READ,), _raw),
    "ContentAddressableStorage/GetTree": Needed((Right.CAS_READ,), _named),
    "ContentAddressableStorage/SplitBlob": Needed((Right.CAS_READ,), _named),
    "ContentAddressableStorage/SpliceBlob": Needed((Right.CAS_WRITE,), _named, Cost.HEAVY),
    "ByteStream/Read": Needed((Right.CAS_READ,), _read),
    "ByteStream/Write": Needed(
        (Right.CAS_WRITE,), _written, Cost.HEAVY, paced=True, patient=_is_log
    ),
    "ByteStream/QueryWriteStatus": Needed((Right.CAS_WRITE,), _queried),
    "LogStreamService/CreateLogStream": Needed((Right.CAS_WRITE,), _parent, Cost.HEAVY),
}

_CACHE = {
    "ActionCache/GetActionResult": Needed((Right.CACHE_READ,), _raw, Cost.CHEAP),
    "ActionCache/UpdateActionResult": Needed(
        (Right.CACHE_WRITE, Right.CACHE_PROPOSE), _named, Cost.HEAVY
    ),
}

# What is pushed is everybody's answer to a URI, and as much to be trusted as a result.
_ASSETS = {
    "Fetch/FetchBlob": Needed((Right.CAS_WRITE,), _named, Cost.HEAVY),
    "Fetch/FetchDirectory": Needed((Right.CAS_WRITE,), _named, Cost.HEAVY),
    "Push/PushBlob": Needed((Right.CACHE_WRITE,), _named, Cost.HEAVY),
    "Push/PushDirectory": Needed((Right.CACHE_WRITE,), _named, Cost.HEAVY),
}

# What only tells something is for who may read results; what costs or changes, for who may change.
_ADMIN = {
    "Admin/GetStatus": Needed(EVERY, _anywhere),
    "Admin/CollectGarbage": Needed((Right.PINS,), _everywhere),
    "Admin/GetPin": Needed((Right.CACHE_READ,), _named),
    "Admin/ListPins": Needed((Right.CACHE_READ,), _filtered),
    "Admin/ReplacePin": Needed((Right.PINS,), _named),
    "Admin/DropPins": Needed((Right.PINS,), _filtered),
    # What somebody proposes is for nobody else to see.
    "Admin/ListProposals": Needed((Right.PINS,), _filtered),
    "Admin/ConfirmProposal": Needed((Right.PINS,), _named),
    "Admin/DropProposals": Needed((Right.PINS,), _filtered),
    "Admin/ImportPins": Needed((Right.PINS,), _named, each=True, paced=True),
    "Admin/Audit": Needed((Right.PINS,), _named, Cost.HEAVY),
    "Admin/ListNondeterminism": Needed((Right.CACHE_READ,), _named),
    "Admin/ExplainNondeterminism": Needed((Right.CACHE_READ,), _named),
    "ServerReflection/ServerReflectionInfo": Needed(EVERY, _anywhere),
}


def _execution(dispatcher: Dispatcher | None) -> Mapping[str, Needed]:
    if dispatcher is None:
        return {}

    def of_operation(request: Request) -> Place:
        """Return the operation's own instance. The method says it where there is none."""
        try:
            return dispatcher.find(request.name).request.instance
        except OperationNotFound:
            return Scope.ANY

    execute = (Right.EXECUTE,)
    return {
        "Execution/Execute": Needed(execute, _named, Cost.HEAVY),
        "Execution/WaitExecution": Needed(execute, of_operation),
        # Who can list the operations of others could cancel them.
        "Operations/ListOperations": Needed((Right.PINS,), _listed),
        "Operations/GetOperation": Needed(execute, of_operation),
        "Operations/DeleteOperation": Needed(execute, of_operation),
        "Operations/CancelOperation": Needed(execute, of_operation),
        "Operations/WaitOperation": Needed(execute, of_operation),
        # A worker is leased actions of all instances, and each result it gives is believed.
        "Workers/Connect": Needed((Right.WORK,), _everywhere),
    }
