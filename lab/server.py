"""A Holdfast server for the lab, and cases as actions on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.rpc.code_pb2 import Code

from cas.digest import Digest, DigestFunction
from cas.folder import Blobs, Folder, encode
from lab import tools
from lab.cases import COMMAND, EXPECTED, Case
from lab.plain import Made, made
from protos import remote_execution_pb2 as reapi
from re_cli.remote import Remote, Session
from re_client.command_line import CommandLine, plan_outputs, to_action
from re_client.download import carry_out
from re_client.folder import scan
from re_client.status import from_status
from re_client.upload import upload
from tests.serving import Served, serving

FUNCTION = DigestFunction.SHA256
PREVENTING, REWRITING, DEFAULTS = "preventing", "rewriting", "defaults"
"""Instances: with the sandbox's help alone; with every format and pins as well; and as a server is
that nobody has configured."""

SETTINGS = """\
determinism.arbitrate = false
determinism.audit.sample = 0.0
[instances.preventing]
determinism = "observe"
canonicalise = "off"
[instances.rewriting]
canonicalise = "all"
[instances.defaults]
"""


class NotRun(RuntimeError):
    """A case did not run, or not as it should have. Says why."""


@contextmanager
def lab_server(folder: Path, *, working_tree: str) -> Iterator[Served]:
    """Serve from `folder`, with actions in a working tree of this kind: `disk` or `tmpfs`."""
    worker = f'{tools.settings()}worker.working_tree = "{working_tree}"\n'
    with serving(folder, worker + SETTINGS) as served:
        yield served


@dataclass(frozen=True, slots=True)
class Bench:
    """One instance of a server, to run cases on."""

    session: Session
    instance: str

    async def send(self, case: Case) -> Digest:
        """Upload `case`; return the digest of its Action."""
        blobs: Blobs = {}
        root = scan(case.folder, FUNCTION, blobs)
        assert isinstance(root, Folder)
        del root.entries[EXPECTED]
        line = CommandLine(
            arguments=("sh", COMMAND),
            outputs=case.expected.outputs,
            environment=tuple(tools.environment().items()),
        )
        action = to_action(line, encode(root, FUNCTION, blobs), blobs)
        await upload(self.session.store, blobs)
        return action

    async def run(self, action: Digest, *, fresh: bool) -> reapi.ActionResult:
        """Return the action's result, of a run of its own if it is to be `fresh`.

        Raises NotRun if it has none.
        """
        response = await self.session.actions.execute(action, skip_cache_lookup=fresh)
        if response.status.code != Code.OK:
            raise NotRun(str(from_status(response.status)))
        if fresh and response.cached_result:
            raise NotRun("the server answers from its cache, though a fresh result was asked for")
        return response.result

    async def fetch(self, result: reapi.ActionResult, outputs: tuple[str, ...], to: Path) -> Made:
        """Download `result` into the folder `to`; return what is there then."""
        plan = await plan_outputs(self.session.store, result, FUNCTION, to)
        await carry_out(self.session.store, plan)
        return made(to, outputs)


@asynccontextmanager
async def bench(served: Served, instance: str) -> AsyncIterator[Bench]:
    """Open one instance of `served`."""
    async with Remote(f"grpc://{served.grpc}", instance, FUNCTION).open() as session:
        yield Bench(session, instance)
