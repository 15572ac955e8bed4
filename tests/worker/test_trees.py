from __future__ import annotations

from protos import remote_execution_pb2 as reapi
from tests.worker.site import Site


async def test_a_directory_at_two_depths_comes_once_and_after_both_of_its_parents(
    worker: Site,
) -> None:
    # REAPI rule: a Tree has a record for each directory, with tag 0x0a for the first, else 0x12
    script = "mkdir -p d/a/b d/same; echo 1 > d/same/f; cp -r d/same d/a/b/; cp -r d/same d/a/"
    result = await worker.shell(script, {}, ["d"])
    data = await worker.blob(result.output_directories[0].tree_digest)
    records = []
    while data:
        tag, size, start = data[0], data[1], 2
        if size >= 0x80:  # a varint of two bytes
            size, start = size & 0x7F | data[2] << 7, 3
        records.append((tag, reapi.Directory.FromString(data[start : start + size])))
        data = data[start + size :]
    assert [tag for tag, _ in records] == [0x0A, 0x12, 0x12, 0x12]
    assert [[node.name for node in folder.directories] for _, folder in records] == [
        ["a", "same"],
        ["b", "same"],
        ["same"],
        [],
    ]
