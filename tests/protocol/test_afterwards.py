"""What the server finds out about results after it has answered them."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import TypeVar

import grpc
import pytest

from protos import admin_pb2 as admin, remote_execution_pb2 as reapi
from protos.admin_pb2_grpc import AdminStub
from tests.protocol.actions import command, platform_of, put_action, put_script
from tests.protocol.blobs import unique
from tests.protocol.peer import Peer, refused
from tests.serving import Served

SETTINGS = """
execution.no_worker_seconds = 2
determinism.audit.sample = 0
[instances.""]
[instances.sampled]
"""
WAIT_SECONDS = 40
Found = TypeVar("Found")


@pytest.fixture
def office(served: Served) -> Iterator[AdminStub]:
    with grpc.insecure_channel(served.grpc) as channel:
        yield AdminStub(channel)


def awaited(look: Callable[[], Found | None]) -> Found:
    """Return what `look` finds, once it does."""
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        found = look()
        if found is not None:
            return found
        time.sleep(0.1)
    pytest.fail("it was not found in time")


def explained(office: AdminStub, action: reapi.Digest) -> admin.Explanation | None:
    """Return what is known of an action once a difference is attributed."""
    request = admin.ExplainNondeterminismRequest(action_digest=action)
    try:
        found: admin.Explanation = office.ExplainNondeterminism(request)
    except grpc.RpcError:
        return None
    return found if found.differences else None


def metric(served: Served, name: str) -> float:
    with urllib.request.urlopen(f"http://{served.web}/metrics") as answer:
        page = answer.read().decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_conflict_is_explained_by_what_the_results_hold(peer: Peer, office: AdminStub) -> None:
    action = put_script(peer, "date +%s%N > out", "out")
    peer.execute(action)
    peer.execute(action, skip_cache_lookup=True)
    found = awaited(lambda: explained(office, action))
    (difference,) = found.differences
    assert (difference.where, difference.cause, difference.latent) == ("out", "time", False)
    assert difference.first_text.strip().isdecimal()
    assert found.summary.conflicts == 1


def test_a_poisoned_pin_is_found_out(peer: Peer, office: AdminStub, served: Served) -> None:
    action = put_script(peer, f"echo {unique().hex()} > out", "out")
    evil = reapi.ActionResult()
    evil.output_files.add(path="out", digest=peer.put_one(b"evil"))
    peer.update_result(action, evil)
    before = metric(served, 'holdfast_suspect_results_total{kind="pin"}')
    peer.execute(action, skip_cache_lookup=True)
    name = 'holdfast_suspect_results_total{kind="pin"}'
    awaited(lambda: metric(served, name) > before or None)
    assert "is suspect, corrupt or poisoned" in served.log.read_text()
    judged = awaited(
        lambda: (
            (found := explained(office, action))
            and (found if found.differences[0].cause == "corruption" else None)
        )
    )
    assert "none gives what is pinned" in judged.differences[0].evidence
    # The pin stays until somebody decides.
    assert peer.execute(action).result.output_files[0].digest == evil.output_files[0].digest


def test_a_third_run_that_differs_too_is_no_alarm(peer: Peer, office: AdminStub) -> None:
    action = put_script(peer, "head -c 16 /dev/urandom > out", "out")
    peer.execute(action)
    peer.execute(action, skip_cache_lookup=True)
    found = awaited(
        lambda: (
            (found := explained(office, action))
            and (found if any(each.source == "arbiter" for each in found.observations) else None)
        )
    )
    assert {each.cause for each in found.differences} == {"random"}


def test_what_pinning_saved_is_counted(peer: Peer, office: AdminStub) -> None:
    maker = put_script(peer, "date +%s%N > out", "out")
    made = peer.read(peer.execute(maker).result.output_files[0].digest)
    consumer = put_action(
        peer, command("sleep 0.3; cat in > out", outputs=["out"]), inputs={"in": made}
    )
    last = put_action(peer, command("tr 1 2 < in > out", outputs=["out"]), inputs={"in": made})
    peer.execute(consumer)
    peer.execute(last)
    time.sleep(2)  # until it is written down who consumed what
    peer.execute(maker, skip_cache_lookup=True)
    awaited(lambda: explained(office, maker))
    peer.get_result(consumer)
    assert peer.execute(last).response.cached_result
    found = awaited(
        lambda: (
            (found := explained(office, maker))
            and (found if found.summary.saved_actions == 2 else None)
        )
    )
    assert found.summary.saved_seconds > 0.3
    assert {each.distance for each in found.consumers} == {1}


def test_a_format_is_learned_once_a_program_differs_in_it(peer: Peer, office: AdminStub) -> None:
    # gcc names its temporary object anew in each run, and the linker writes that into its map.
    def mapped(name: str) -> reapi.Digest:
        source = f"int main(void) {{ return 0; }} // {unique().hex()}\n".encode()
        arguments = ["gcc", "-Wl,-Map,a.map", "-o", name, "a.c"]
        message = reapi.Command(
            arguments=arguments,
            output_paths=["a.map"],
            platform=platform_of({"holdfast-seeded-randomness": "off"}),
        )
        return put_action(peer, message, inputs={"a.c": source})

    def twice(action: reapi.Digest) -> set[str]:
        results = [peer.execute(action, skip_cache_lookup=True).result for _ in range(2)]
        return {result.output_files[0].digest.hash for result in results}

    first = mapped("one")
    assert len(twice(first)) == 2
    awaited(lambda: explained(office, first))
    assert len(twice(mapped("two"))) == 1


def test_an_audit_finds_what_the_path_does(peer: Peer, office: AdminStub) -> None:
    action = put_script(peer, "pwd > out", "out")
    peer.execute(action)
    progress = list(office.Audit(admin.AuditRequest(action_digest=action)))
    audited = progress[-1].audited
    assert audited.differs
    assert [each.cause for each in audited.differences] == ["path"]
    assert progress[-1].runs == audited.runs
    assert awaited(lambda: explained(office, action)).differences[0].latent


def test_an_audit_of_what_is_deterministic_ends_soon(peer: Peer, office: AdminStub) -> None:
    action = put_script(peer, f"echo {unique().hex()} > out", "out")
    peer.execute(action)
    audited = list(office.Audit(admin.AuditRequest(action_digest=action)))[-1].audited
    assert not audited.differs
    assert audited.runs <= 4


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (admin.AuditRequest(), "name one of"),
        (admin.AuditRequest(invocation="nobody's"), "no action of instance"),
        (admin.AuditRequest(target="//nothing:*", runs=-1), "runs -1"),
    ],
)
def test_an_audit_of_nothing_is_refused(
    office: AdminStub, request_: admin.AuditRequest, told: str
) -> None:
    codes = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    with refused(*codes, naming=told):
        list(office.Audit(request_))


def test_an_action_that_fails_when_it_is_audited_says_so(peer: Peer, office: AdminStub) -> None:
    action = put_script(peer, "exit 3")
    audited = list(office.Audit(admin.AuditRequest(action_digest=action)))[-1].audited
    assert "ended with 3" in audited.error
