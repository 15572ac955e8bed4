"""Actions and results that checks of the action cache make."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.target import Target, unique
from conformance.trees import Tree, encoded, put_tree, small_tree
from protos import remote_execution_pb2 as reapi


async def put_action(target: Target) -> reapi.Digest:
    """Upload an action that nobody has a result of: Command, empty input root, Action."""
    command = reapi.Command(arguments=["/bin/true", unique(8).hex()])
    action = reapi.Action(
        command_digest=await target.put_message(command),
        input_root_digest=await target.put_message(reapi.Directory()),
        salt=unique(8),
    )
    return await target.put_message(action)


@dataclass(frozen=True)
class Outputs:
    """Blobs of a result with one of everything, by what they are for."""

    tree: Tree
    file: bytes
    stdout: bytes
    stderr: bytes

    @classmethod
    def made(cls, target: Target) -> Outputs:
        return cls(small_tree(target.function), unique(300), unique(200), unique(100))

    def message(self) -> reapi.Tree:
        return reapi.Tree(root=self.tree.root, children=self.tree.directories[1:])

    def result(self, target: Target) -> reapi.ActionResult:
        """Return a result that refers to all of them."""
        result = reapi.ActionResult(
            stdout_digest=target.digest(self.stdout),
            stderr_digest=target.digest(self.stderr),
            execution_metadata=reapi.ExecutedActionMetadata(worker="conformance"),
        )
        result.output_files.add(
            path="bin/file", digest=target.digest(self.file), is_executable=True
        )
        result.output_directories.add(
            path="tree", tree_digest=target.digest(encoded(self.message()))
        )
        return result

    async def put(self, target: Target) -> reapi.ActionResult:
        """Upload all of them, and return the result."""
        await target.put(self.file, self.stdout, self.stderr, encoded(self.message()))
        await put_tree(target, self.tree)
        return self.result(target)
