"""Every method with every right: what is needed, and nothing else, lets a caller in."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from urllib.request import Request, urlopen

import grpc
import pytest
from google.longrunning.operations_pb2 import CancelOperationRequest, GetOperationRequest

from access.identity import Right
from access.policy import ROLES
from protos.remote_execution_pb2 import GetCapabilitiesRequest, WaitExecutionRequest
from re_server.authorisation import table
from scheduler.dispatch import Dispatcher
from scheduler.limits import Limits
from tests.access.callers import Tokens, bearer, calling
from tests.access.methods import REQUESTS, method_of, outcome
from tests.protocol.actions import command, put_action
from tests.protocol.peer import Peer, Refusal, attempt
from tests.serving import Served, serving

OPEN = ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch")
CAPABILITIES = [
    ("everything", True, True),
    ("cache_write", True, False),
    ("cache_propose", True, False),
    ("execute", False, True),
    ("cas_read", False, False),
]
ALONE = [*Right, "everything"]
DENIED, UNKNOWN = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED


async def _settle(*_: object) -> None:
    raise NotImplementedError


NEEDED = table(Dispatcher(settle=_settle, limits=Limits()))  # type: ignore[arg-type]  # never asked


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    made = Tokens(tmp_path_factory.mktemp("tokens"))
    made.add(*(str(right) for right in ALONE), "nothing", "elsewhere")
    return made


@pytest.fixture(scope="module")
def served(tokens: Tokens, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    grants = {f"token:{right}": f'"{right}"' for right in Right}
    settings = tokens.settings(grants | {"token:everything": '"admin"'}) + (
        '[[access.grants]]\nwho = ["token:elsewhere"]\nrights = ["admin"]\ninstances = ["b"]\n'
        "[instances.a]\n[instances.b]\n"
    )
    with serving(tmp_path_factory.mktemp("matrix"), settings) as made:
        yield made


@pytest.fixture(scope="module")
def peers(served: Served, tokens: Tokens) -> Iterator[dict[str, Peer]]:
    opened = {name: calling(served.grpc, bearer(token)) for name, token in tokens.by_name.items()}
    opened["anonymous"] = calling(served.grpc, None)
    made = {name: each.__enter__() for name, each in opened.items()}
    yield made
    for each in opened.values():
        each.__exit__(None, None, None)


def is_refused(code: grpc.StatusCode, message: str) -> bool:
    """Tell a right that lacks from what a method itself does not allow."""
    return code is UNKNOWN or (code is DENIED and "has no right" in message)


def test_every_method_that_is_served_is_in_the_table_and_is_tried(peers: dict[str, Peer]) -> None:
    assert {method_of(path) for path in REQUESTS} == set(NEEDED)


@pytest.mark.parametrize("path", REQUESTS)
def test_a_right_lets_in_where_it_is_needed_and_nowhere_else(
    peers: dict[str, Peer], path: str
) -> None:
    needed = NEEDED[method_of(path)].rights
    for right in Right:
        code, message = outcome(peers[right].channel, path, "a")
        if right in needed:
            assert not is_refused(code, message), (right, message)
        else:
            assert is_refused(code, message), (right, code, message)
            assert f"`{needed[0]}`" in message
            assert f"token:{right}" in message


@pytest.mark.parametrize("path", REQUESTS)
def test_who_has_no_right_and_who_is_nobody_are_refused_everywhere(
    peers: dict[str, Peer], path: str
) -> None:
    assert outcome(peers["nothing"].channel, path, "a")[0] is DENIED
    code, message = outcome(peers["anonymous"].channel, path, "a")
    assert code is UNKNOWN
    assert "authorization: Bearer" in message


ANYWHERE = {
    "/google.longrunning.Operations/GetOperation",
    "/google.longrunning.Operations/DeleteOperation",
    "/google.longrunning.Operations/CancelOperation",
    "/google.longrunning.Operations/WaitOperation",
    "/build.bazel.remote.execution.v2.Execution/WaitExecution",
    "/holdfast.admin.v1.Admin/GetStatus",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}


@pytest.mark.parametrize("path", REQUESTS)
def test_rights_in_one_instance_are_none_in_another(peers: dict[str, Peer], path: str) -> None:
    there, message = outcome(peers["elsewhere"].channel, path, "b")
    here = outcome(peers["elsewhere"].channel, path, "a")
    everywhere = path.endswith(("/CollectGarbage", "/Connect"))
    assert is_refused(there, message) == everywhere, message
    assert is_refused(*here) == (path not in ANYWHERE)


def test_an_operation_is_looked_at_only_by_who_may_execute_in_its_instance(
    peers: dict[str, Peer],
) -> None:
    request = peers["everything"].at("a")
    waiting = put_action(request, command("true", platform={"pool": "none"}))
    call = request.execution.Execute(request.execute_request(waiting), timeout=20)
    name = next(call).name
    for caller, may in (("execute", True), ("elsewhere", False), ("cas_read", False)):
        for ask in (
            partial(peers[caller].operations.GetOperation, GetOperationRequest(name=name)),
            partial(peers[caller].operations.CancelOperation, CancelOperationRequest(name=name)),
            partial(
                lambda caller: next(
                    peers[caller].execution.WaitExecution(WaitExecutionRequest(name=name))
                ),
                caller,
            ),
        ):
            answer = attempt(ask)
            assert (not isinstance(answer, Refusal)) == may, (caller, answer)
            assert may or answer == Refusal(DENIED, getattr(answer, "message", ""))
    call.cancel()


@pytest.mark.parametrize(("caller", "update", "execute"), CAPABILITIES)
def test_capabilities_are_what_the_caller_may_do(
    peers: dict[str, Peer], caller: str, *, update: bool, execute: bool
) -> None:
    told = peers[caller].capabilities.GetCapabilities(GetCapabilitiesRequest(instance_name="a"))
    update_told = told.cache_capabilities.action_cache_update_capabilities.update_enabled
    assert (update_told, told.execution_capabilities.exec_enabled) == (update, execute)


@pytest.mark.parametrize("path", OPEN)
def test_health_is_told_to_anybody(peers: dict[str, Peer], path: str) -> None:
    call: grpc.UnaryStreamMultiCallable[bytes, bytes] = peers["anonymous"].channel.unary_stream(
        path
    )
    answers = call(b"", timeout=20)
    assert next(answers)
    answers.cancel()


def test_an_instance_that_is_not_served_is_not_told_from_one_without_rights(
    peers: dict[str, Peer],
) -> None:
    path = "/build.bazel.remote.execution.v2.ActionCache/GetActionResult"
    assert outcome(peers["elsewhere"].channel, path, "no such")[0] is DENIED


def test_a_role_is_made_of_rights() -> None:
    assert ROLES["reader"] < ROLES["developer"] < ROLES["ci"] < ROLES["admin"] == set(Right)


def test_refusals_are_counted_by_method_and_reason_and_logged_without_the_token(
    served: Served, tokens: Tokens, peers: dict[str, Peer]
) -> None:
    path = "/build.bazel.remote.execution.v2.ActionCache/GetActionResult"
    outcome(peers["nothing"].channel, path, "a")
    outcome(peers["anonymous"].channel, path, "a")
    refused = 'holdfast_refusals_total{method="ActionCache/GetActionResult",reason="%s"}'
    page = Request(
        f"http://{served.web}/metrics", headers={"Authorization": bearer(tokens.by_name["work"])}
    )
    with urlopen(page, timeout=20) as answer:
        counted = answer.read().decode()
    assert refused % "right_cache_read" in counted
    assert refused % "no_credentials" in counted
    log = served.log.read_text()
    assert "token:" in log
    assert not [token for token in tokens.by_name.values() if token in log]
