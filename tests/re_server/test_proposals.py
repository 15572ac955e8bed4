"""Results of callers who may only propose them, through a server's own services."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from protos import admin_pb2 as admin, remote_execution_pb2 as reapi
from protos.admin_pb2_grpc import AdminStub
from tests.protocol.actions import command, put_action, put_script
from tests.protocol.blobs import unique
from tests.protocol.peer import CALL_SECONDS, Peer, connected, refused
from tests.protocol.results import a_result
from tests.re_server.doors import PROPOSE, READ, WRITE, Doors, doors

PAUSE_SECONDS = 0.02
CALLERS = {
    "ann": PROPOSE, "ben": PROPOSE, "eve": PROPOSE, "ci": WRITE, "reader": READ, "": PROPOSE,
}  # fmt: skip
SETTINGS = """
worker.sandbox.kind = "none"
worker.slots = 1
[instances.""]
allow_pin_replace = true
[instances.shown]
[instances.distrustful]
confirmations = 0
[instances.moon]
update_requires_action = false
"""


@dataclass(frozen=True)
class Callers:
    """Each is somebody's end of the same server."""

    ann: Peer
    ben: Peer
    eve: Peer
    ci: Peer
    reader: Peer
    nameless: Peer
    doors: Doors

    def stub(self) -> AdminStub:
        return AdminStub(self.ci.channel)

    def value(self, name: str, **labels: str) -> float:
        return self.doors.value(name, **labels)

    def ruled(self, ruling: str) -> float:
        return self.value("holdfast_ruled_proposals_total", ruling=ruling)

    def until(self, ruling: str, count: float) -> None:
        """Wait until so many were ruled, and fail if it is more."""
        while self.ruled(ruling) < count:
            time.sleep(PAUSE_SECONDS)
        assert self.ruled(ruling) == count

    def proposals(self, instance: str, writer: str = "") -> list[admin.Proposal]:
        filter = admin.ProposalFilter(instance_name=instance, writer=writer)
        request = admin.ListProposalsRequest(filter=filter)
        return list(self.stub().ListProposals(request, timeout=CALL_SECONDS))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callers]:
    with ExitStack() as stack:
        made = stack.enter_context(doors(tmp_path_factory.mktemp("served"), CALLERS, SETTINGS))
        peers = [stack.enter_context(connected(made.ports[name])) for name in CALLERS]
        ann, ben, eve, ci, reader, nameless = peers
        yield Callers(ann, ben, eve, ci, reader, nameless, made)


def result_of(peer: Peer, data: bytes) -> reapi.ActionResult:
    """Upload `data`; return a result that has it as its output."""
    result = reapi.ActionResult()
    result.output_files.add(path="out", digest=peer.put_one(data))
    return result


def misses(*peers: Peer, action: reapi.Digest) -> None:
    for peer in peers:
        with refused(grpc.StatusCode.NOT_FOUND):
            peer.get_result(action)


def test_a_proposal_is_its_writers_alone_until_another_gives_the_same(served: Callers) -> None:
    ann, ben, eve = served.ann, served.ben, served.eve
    action, result = put_script(ann, "true"), a_result(ann)
    own = ann.update_result(action, result)
    assert own.execution_metadata.worker == "uploaded"
    for _ in range(2):  # the same request by others, before and after it was answered
        misses(ben, eve, served.ci, served.reader, action=action)
        assert ann.get_result(action) == own
    confirmed = served.ruled("confirmed")
    result.execution_metadata.worker = "ben's laptop"
    assert ben.update_result(action, result) == own
    for peer in (ann, ben, eve, served.ci, served.reader):
        assert peer.get_result(action) == own
    served.until("confirmed", confirmed + 2)


def test_proposals_that_differ_are_each_writers_own(served: Callers) -> None:
    ann, eve = served.ann, served.eve
    action = put_script(ann, "true")
    good = ann.update_result(action, result_of(ann, unique()))
    bad = eve.update_result(action, result_of(eve, unique()))
    assert (ann.get_result(action), eve.get_result(action)) == (good, bad)
    misses(served.ben, action=action)
    assert served.ben.update_result(action, good) == good
    assert eve.get_result(action) == good


def test_what_a_trusted_caller_uploads_is_everyones_at_once(served: Callers) -> None:
    ann, eve, ci = served.ann, served.eve, served.ci
    action = put_script(ann, "true")
    good = ann.update_result(action, result_of(ann, unique()))
    eve.update_result(action, result_of(eve, unique()))
    confirmed, refuted = served.ruled("confirmed"), served.ruled("refuted")
    good.execution_metadata.worker = "ci"
    assert ci.update_result(action, good) == good
    for peer in (ann, eve, served.reader):
        assert peer.get_result(action) == good
    served.until("confirmed", confirmed + 1)
    served.until("refuted", refuted + 1)


@pytest.mark.parametrize("lookup", [True, False])
def test_a_run_by_a_worker_settles_what_was_proposed(served: Callers, *, lookup: bool) -> None:
    eve, ben = served.eve, served.ben
    action = put_script(eve, f"echo {unique(8).hex()} > out", "out")
    bad = eve.update_result(action, result_of(eve, unique()))
    refuted = served.ruled("refuted")
    if lookup:
        cached = eve.execute(action)
        assert (cached.response.cached_result, cached.result) == (True, bad)
    executed = ben.execute(action)
    assert not executed.response.cached_result
    for peer in (eve, ben, served.reader):
        assert peer.get_result(action) == executed.result
    served.until("refuted", refuted + 1)


def test_what_differs_in_what_a_canonical_form_takes_out_is_confirmed(served: Callers) -> None:
    ann, eve, ci = served.ann, served.eve, served.ci
    action, data, now = put_script(ann, "true"), unique(), int(time.time())
    confirmed, refuted = served.ruled("confirmed"), served.ruled("refuted")

    def packed(peer: Peer, contents: bytes, at: int) -> reapi.ActionResult:
        result = reapi.ActionResult()
        digest = peer.put_one(gzip.compress(contents, mtime=at))
        result.output_files.add(path="out.gz", digest=digest)
        result.execution_metadata.execution_start_timestamp.seconds = at - 1
        result.execution_metadata.execution_completed_timestamp.seconds = at + 1
        return result

    ann.update_result(action, packed(ann, data, now - 500))
    eve.update_result(action, packed(eve, data + b" and more", now - 400))
    misses(served.ben, action=action)
    kept = ci.update_result(action, packed(ci, data, now))
    assert ann.get_result(action) == eve.get_result(action) == kept
    served.until("confirmed", confirmed + 1)
    served.until("refuted", refuted + 1)


def test_the_ledger_names_who_was_confirmed_and_who_was_not(served: Callers) -> None:
    ann, eve, ci = (peer.at("shown") for peer in (served.ann, served.eve, served.ci))
    action = put_script(ann, "true")
    good = ann.update_result(action, result_of(ann, unique()))
    eve.update_result(action, result_of(eve, unique()))
    refuted = served.ruled("refuted")
    ci.update_result(action, good)
    served.until("refuted", refuted + 1)
    request = admin.ExplainNondeterminismRequest(instance_name="shown", action_digest=action)
    served.doors.ledger.flush()
    explained = served.stub().ExplainNondeterminism(request, timeout=CALL_SECONDS)
    seen = {(one.source, one.verdict, one.worker) for one in explained.observations}
    assert seen == {
        ("upload", "first", ""), ("upload", "confirmed", "ann"), ("upload", "refuted", "eve"),
    }  # fmt: skip
    assert explained.summary.conflicts == 0


def test_a_pin_is_not_touched_by_whoever_proposes_otherwise(served: Callers) -> None:
    ci, eve = served.ci, served.eve
    action = put_script(ci, "true")
    pinned = ci.update_result(action, result_of(ci, unique()))
    refuted = served.ruled("refuted")
    assert eve.update_result(action, result_of(eve, unique())) == pinned
    assert eve.get_result(action) == ci.get_result(action) == pinned
    pin = served.stub().GetPin(admin.GetPinRequest(action_digest=action), timeout=CALL_SECONDS)
    assert (pin.revision, pin.conflicts, pin.agreements) == (1, 0, 0)
    served.until("refuted", refuted + 1)
    with refused(grpc.StatusCode.PERMISSION_DENIED, naming="eve has no right `pins`"):
        eve.update_result(action, result_of(eve, unique()), metadata=[("holdfast-pin", "replace")])


def test_where_proposals_confirm_nothing_only_trust_does(served: Callers) -> None:
    ann, ben, ci = (peer.at("distrustful") for peer in (served.ann, served.ben, served.ci))
    action, result = put_script(ann, "true"), result_of(ann, unique())
    ann.update_result(action, result)
    assert ben.update_result(action, result) == ben.get_result(action)
    misses(ci, action=action)
    ci.update_result(action, result)
    assert ci.get_result(action) == ann.get_result(action)


def test_what_may_differ_is_never_anybody_elses(served: Callers) -> None:
    ann, ben = served.ann, served.ben
    listed = command("true")
    bare = reapi.Action(command_digest=ann.put_one(listed.SerializeToString()))
    action = ann.put_one(bare.SerializeToString())
    first, last = result_of(ann, unique()), result_of(ann, unique())
    ann.update_result(action, first)
    last = ann.update_result(action, last)
    ben.update_result(action, last)
    assert ann.get_result(action) == last
    misses(served.eve, served.ci, action=action)
    unknown = ann.digest(unique())
    with refused(grpc.StatusCode.FAILED_PRECONDITION):
        ann.update_result(unknown, first)
    assert ann.at("moon").update_result(unknown, first).output_files == first.output_files
    misses(ben.at("moon"), action=unknown)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, naming="has no input root"):
        served.stub().ConfirmProposal(
            admin.ConfirmProposalRequest(action_digest=action, writer="ann"), timeout=CALL_SECONDS
        )


def test_what_is_not_kept_of_anybody_is_not_kept_of_a_proposer(served: Callers) -> None:
    ann = served.ann
    failed = reapi.ActionResult(exit_code=3)
    action = put_script(ann, "true")
    assert ann.update_result(action, failed).exit_code == 3
    volatile = put_action(ann, command("true"), do_not_cache=True)
    ann.update_result(volatile, result_of(ann, unique()))
    misses(ann, action=action)
    misses(ann, action=volatile)


def test_results_that_can_be_read_in_two_ways_are_refused(served: Callers) -> None:
    ann = served.ann
    action, result = put_script(ann, "true"), result_of(ann, unique())
    result.output_files.add(path="out", digest=ann.put_one(unique()))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="'out' stands there twice"):
        ann.update_result(action, result)
    del result.output_files[1:]
    result.output_files[0].contents = b"others"
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="contents are not what digest names"):
        ann.update_result(action, result)


def test_who_has_no_right_or_no_name_cannot_propose(served: Callers) -> None:
    action, result = put_script(served.ann, "true"), result_of(served.ann, unique())
    with refused(grpc.StatusCode.PERMISSION_DENIED, naming="cache_propose"):
        served.reader.update_result(action, result)
    with refused(grpc.StatusCode.PERMISSION_DENIED, naming="give each a name"):
        served.nameless.update_result(action, result)
    misses(served.nameless, action=action)


def test_a_server_can_settle_proposals_by_runs_of_its_own(tmp_path: Path) -> None:
    settings = 'worker.sandbox.kind = "none"\ndeterminism.proposals.verify = 1\n'
    callers = {"ann": PROPOSE, "eve": PROPOSE}
    with (
        doors(tmp_path, callers, settings) as made,
        connected(made.ports["ann"]) as ann,
        connected(made.ports["eve"]) as eve,
    ):
        action = put_script(eve, "echo true > out", "out")
        eve.update_result(action, result_of(eve, unique()))
        while not made.value("holdfast_verified_proposals_total"):
            time.sleep(PAUSE_SECONDS)
        told = ann.get_result(action)
        assert told == eve.get_result(action)
        assert told.output_files[0].digest == ann.digest(b"true\n")
        while not made.value("holdfast_ruled_proposals_total", ruling="refuted"):
            time.sleep(PAUSE_SECONDS)


def test_the_admin_service_lists_confirms_and_drops(served: Callers) -> None:
    ann, ben, eve = (peer.at("shown") for peer in (served.ann, served.ben, served.eve))
    action, other = put_script(ann, "true"), put_script(ann, "true")
    good = ann.update_result(action, result_of(ann, unique()))
    eve.update_result(action, result_of(eve, unique()))
    ben.update_result(other, result_of(ben, unique()))
    shown = {one.writer: one for one in served.proposals("shown")}
    assert {writer: one.conflicting for writer, one in shown.items()} == {
        "ann": True, "eve": True, "ben": False,
    }  # fmt: skip
    assert shown["ann"].result == good
    assert [one.writer for one in served.proposals("shown", "be*")] == ["ben"]
    confirm = admin.ConfirmProposalRequest(
        instance_name="shown", action_digest=action, writer="ann"
    )
    pin = served.stub().ConfirmProposal(confirm, timeout=CALL_SECONDS)
    assert pin.result == good == ben.get_result(action)
    with refused(grpc.StatusCode.NOT_FOUND, naming="'ann' proposes nothing"):
        served.stub().ConfirmProposal(confirm, timeout=CALL_SECONDS)
    drop = admin.DropProposalsRequest(
        filter=admin.ProposalFilter(instance_name="shown", writer="ben")
    )
    assert served.stub().DropProposals(drop, timeout=CALL_SECONDS).dropped == 1
    assert served.proposals("shown") == []
    misses(ben, action=other)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="neither a writer nor actions"):
        served.stub().DropProposals(admin.DropProposalsRequest(), timeout=CALL_SECONDS)
