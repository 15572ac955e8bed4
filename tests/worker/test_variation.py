"""What an audit may have otherwise: each is seen by a real tool, and nothing else changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from protos.worker_pb2 import Variation
from re_client.status import Refused
from tests.worker.cell import Cell, cell
from tests.worker.trees import Inputs

PYTHON = "/usr/bin/python3"
FACTS = (
    "pwd -P; uname -n; cat /etc/hostname; getent hosts $(uname -n) | cut -d' ' -f1; "
    'echo $$; stat -c %Y d d/a; nproc; echo "$TZ $LC_ALL $MINE"'
)
INPUTS: Inputs = {f"d/{name}": b"x" for name in "abcdefghijklmnop"}


async def facts(made: Cell, variation: Variation | None = None, **given: str) -> list[str]:
    done = await made.shell(FACTS, INPUTS, environment=given, variation=variation)
    assert done.root == done.stdout.split()[0]
    return done.stdout.splitlines()


@pytest.mark.parametrize("own_user", [False, True], ids=["root", "own_user"])
async def test_a_variation_changes_what_it_names_and_nothing_else(
    tmp_path: Path, *, own_user: bool
) -> None:
    async with cell(tmp_path, own_user=own_user) as made:
        usual = await facts(made)
        assert usual == await facts(made, Variation())
        assert usual[:4] == ["/b/0123456789ab", "holdfast", "holdfast", "127.0.1.1"]
        changed = [
            (Variation(root="/build/elsewhere/deep"), {0: "/build/elsewhere/deep"}),
            (Variation(host_name="other"), {1: "other", 2: "other"}),
            (Variation(skipped_pids=40), {4: str(int(usual[4]) + 41)}),
            (Variation(modified=1_000_000_000), {5: "1000000000", 6: "1000000000"}),
            (Variation(processors=1), {7: "1"}),
            (Variation(environment={"TZ": "Asia/Tokyo"}), {8: "Asia/Tokyo C "}),
            (Variation(environment={"LC_ALL": "C.UTF-8", "NEW": "1"}), {8: "UTC C.UTF-8 "}),
        ]
        for variation, lines in changed:
            expected = [lines.get(number, line) for number, line in enumerate(usual)]
            assert await facts(made, variation) == expected


async def test_everything_varied_at_once_runs_and_keeps_its_exit_code(tmp_path: Path) -> None:
    variation = Variation(
        root="/somewhere",
        host_name="other",
        skipped_pids=10,
        modified=1_000_000_000,
        order_seed=3,
        processors=1,
        randomised_addresses=True,
        environment={"TZ": "Asia/Tokyo"},
        random_seed="other",
    )
    variation.delay.FromMilliseconds(50)
    async with cell(tmp_path) as made:
        for status in (0, 7):
            done = await made.run(
                ["/bin/sh", "-c", f"echo ran; exit {status}"], {}, variation=variation
            )
            assert (done.exit_code, done.stdout, done.stderr) == (status, "ran\n", "")


async def test_variables_of_the_command_are_never_replaced(tmp_path: Path) -> None:
    variation = Variation(
        environment={"TZ": "Asia/Tokyo", "MINE": "2", "PATH": "/nowhere", "LC_ALL": "C.UTF-8"}
    )
    async with cell(tmp_path) as made:
        found = await facts(made, variation, TZ="Europe/Paris", MINE="1", LANG="C")
    assert found[8] == "Europe/Paris  1"


async def test_addresses_can_be_randomised(tmp_path: Path) -> None:
    async with cell(tmp_path) as made:
        script = f"{PYTHON} -c 'print(object())'"
        random = [
            (await made.shell(script, variation=Variation(randomised_addresses=True))).stdout
            for _ in range(2)
        ]
        fixed = [(await made.shell(script)).stdout for _ in range(2)]
    assert random[0] != random[1]
    assert fixed[0] == fixed[1]


async def test_an_order_follows_from_its_seed_and_shows_in_listings(tmp_path: Path) -> None:
    script = f"{PYTHON} -c 'import os; print(os.listdir(\"d\"))'"
    async with cell(tmp_path) as made:
        found = [
            (await made.shell(script, INPUTS, variation=Variation(order_seed=seed))).stdout
            for seed in (1, 1, 2, 3)
        ]
        assert made.folders.memory is not None
        assert list(made.folders.memory.iterdir()) == []
    assert found[0] == found[1]
    assert len(set(found)) == 3
    assert not made.folders.memory.exists()


async def test_a_random_seed_reaches_programs_that_are_in_no_list(tmp_path: Path) -> None:
    script = f"{PYTHON} -c 'import os; print(os.urandom(8))'; head -c 8 /dev/urandom | od"
    async with cell(tmp_path) as made:
        usual = [(await made.shell(script)).stdout for _ in range(2)]
        seeded = [
            (await made.shell(script, variation=Variation(random_seed=seed))).stdout
            for seed in ("1", "1", "2")
        ]
    assert usual[0] != usual[1]
    assert seeded[0] == seeded[1] != seeded[2]


async def test_a_delay_is_not_part_of_the_running_time(tmp_path: Path) -> None:
    variation = Variation()
    variation.delay.FromMilliseconds(1200)
    script = "date +%s"
    async with cell(tmp_path) as made:
        before = int((await made.shell(script)).stdout)
        assert int((await made.shell(script, variation=variation)).stdout) > before


@pytest.mark.parametrize(
    "variation",
    [
        Variation(root="relative"),
        Variation(root="/"),
        Variation(root="/b/../etc"),
        Variation(root="/usr/share"),
        Variation(root="/usr"),
        Variation(root="/proc/self"),
        Variation(root="/tmp/x"),
        Variation(root="/dev"),
        Variation(skipped_pids=-1),
        Variation(skipped_pids=1_000_000),
        Variation(processors=-1),
        Variation(environment={"": "x"}),
        Variation(environment={"A": "x\0"}),
    ],
    ids=lambda each: str(each).strip().replace("\n", " "),
)
async def test_what_would_break_the_sandbox_is_refused(
    tmp_path: Path, variation: Variation
) -> None:
    async with cell(tmp_path) as made:
        with pytest.raises(Refused, match=r"variation\."):
            await made.run(["true"], variation=variation)


async def test_without_a_sandbox_some_of_it_works(tmp_path: Path) -> None:
    variation = Variation(
        environment={"TZ": "Asia/Tokyo"}, processors=1, modified=1_000_000_000, random_seed="x"
    )
    script = f"echo $TZ; nproc; stat -c %Y d/a; {PYTHON} -c 'import os; print(os.urandom(8))'"
    async with cell(tmp_path, {"sandbox": {"kind": "none"}}) as made:
        found = [(await made.shell(script, INPUTS, variation=variation)).stdout for _ in range(2)]
        usual = (await made.shell(script, INPUTS)).stdout
    assert found[0] == found[1]
    assert found[0].split()[:3] == ["Asia/Tokyo", "1", "1000000000"]
    assert usual.split()[:3] == ["UTC", str(len(os.sched_getaffinity(0))), "946684800"]
