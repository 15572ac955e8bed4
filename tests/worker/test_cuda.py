"""Two different CUDA sources of one build: why the path of an action follows from its outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from re_config.schema import Bubblewrap
from tests.worker.cell import cell

CUDA = Path(__file__).resolve().parents[2] / ".lab" / "cuda"
SHOWN = {"sandbox": {"kind": "bubblewrap", "read_only": [*Bubblewrap().read_only, str(CUDA)]}}
# Neither has a symbol that others see, so nvcc names the module by its path, its process and the
# time of the source.
KERNEL = """
static __device__ int counter;
static __global__ void kernel() { counter += %d; }
namespace { struct Start { Start() { kernel<<<1, 1>>>(); } } start; }
"""
SOURCES = {"one": KERNEL % 1, "two": KERNEL % 2}
LINK = f"{CUDA}/bin/nvcc -arch=sm_80 -dlink one.o two.o -o out/linked.o"


async def compiled(tmp_path: Path, paths: dict[str, str]) -> tuple[dict[str, bytes], str, int]:
    """Compile each source in an action of its own, at its path; link what comes out."""
    async with cell(tmp_path, SHOWN) as made:
        objects: dict[str, bytes] = {}
        for name, text in SOURCES.items():
            script = f"{CUDA}/bin/nvcc -arch=sm_80 -rdc=true -c k.cu -o out/{name}.o"
            done = await made.shell(
                script, {"k.cu": text.encode()}, seed=paths[name], path=paths[name]
            )
            objects |= done.files
        linked = await made.run(["/bin/sh", "-c", LINK], objects)
    return objects, linked.stderr, linked.exit_code


@pytest.mark.xdist_group("cuda")
async def test_two_sources_at_paths_of_their_outputs_link_together(tmp_path: Path) -> None:
    paths = {"one": "/b/0123456789ab", "two": "/b/ba9876543210"}
    first, stderr, exit_code = await compiled(tmp_path / "1", paths)
    assert (stderr, exit_code) == ("", 0)
    again, _, _ = await compiled(tmp_path / "2", paths)
    assert first == again


@pytest.mark.xdist_group("cuda")
async def test_two_sources_at_one_path_would_not(tmp_path: Path) -> None:
    path = "/b/0123456789ab"
    _, stderr, exit_code = await compiled(tmp_path, {"one": path, "two": path})
    assert exit_code != 0
    assert "redefinition of" in stderr
    assert "module_id" in stderr
