"""Randomness that follows from an action: who gets it, and what becomes of real tools by it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cas.digest import Digest
from cas.memory import MemoryStore
from cas.tree import load_inputs
from protos import remote_execution_pb2 as reapi
from re_client.status import Refused
from re_config.schema import Bubblewrap, Prevention
from tests.worker.cell import LIMITS, cell
from tests.worker.trees import put_tree
from worker import seeded
from worker.command import ANY_KIND, Loaded, Output
from worker.seeded import PROPERTY, Seeding

PYTHON = "/usr/bin/python3"
LTO = "gcc -O2 -flto -c a.c -o out/a.o"
SOURCE = {"a.c": b"int a(int x) { return x + 1; }\n"}
# The order of a hash map's entries, settled while the program is compiled.
MACRO = b"""\
extern crate proc_macro;
#[proc_macro]
pub fn order(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let map: std::collections::HashMap<u32, u32> = (0..32).map(|n| (n, n)).collect();
    let text: Vec<String> = map.keys().map(|n| n.to_string()).collect();
    format!("\\"{}\\"", text.join(" ")).parse().unwrap()
}
"""
USER = b'fn main() { println!("{}", m::order!()); }\n'


async def loaded(
    arguments: list[str], outputs: tuple[str, ...] = ("a.o",), said: str = "", *, on: str = "action"
) -> Loaded:
    store = MemoryStore()
    tree = await load_inputs(store, await put_tree(store, {}), LIMITS)
    action, command = reapi.Action(), reapi.Command(arguments=arguments)
    if said:
        (action if on == "action" else command).platform.properties.add(name=PROPERTY, value=said)
    named = tuple(Output(path, path, ANY_KIND) for path in outputs)
    return Loaded(action, command, tree, "", named, legacy=False)


async def test_compilers_and_linkers_get_it_and_others_do_not() -> None:
    seeding = Seeding(Prevention())
    for given in (
        ["gcc"],
        ["/usr/bin/g++-12", "-c"],
        ["x86_64-linux-gnu-gcc-12"],
        ["clang++-14"],
        ["ld.lld"],
        ["rustc"],
        ["nvcc"],
        ["env", "A=b", "/usr/bin/cc"],
        ["/bin/bash", "-ec", "cd x && gcc -c y.c"],
    ):
        assert seeding.of(await loaded(given), ""), given
    for given in (["python3"], ["sh", "cmd.sh"], ["ssh-keygen"], ["openssl"], ["gcc-ar"]):
        assert seeding.of(await loaded(given), "") == "", given
    assert seeding.of(await loaded(["external/wrapper.sh"]), "CppCompile")
    assert seeding.of(await loaded(["external/wrapper.sh"]), "Genrule") == ""


async def test_the_platform_property_wins() -> None:
    seeding = Seeding(Prevention())
    for on in ("action", "command"):
        assert seeding.of(await loaded(["sh", "x"], said="on", on=on), "")
        assert seeding.of(await loaded(["gcc"], said="off", on=on), "CppCompile") == ""
    with pytest.raises(Refused, match=PROPERTY):
        seeding.of(await loaded(["gcc"], said="yes"), "")
    off = Seeding(Prevention(randomness=False))
    assert off.of(await loaded(["gcc"], said="on"), "CppCompile") == ""


async def test_one_set_of_outputs_has_one_seed_and_others_have_others() -> None:
    seeding = Seeding(Prevention())
    first = seeding.of(await loaded(["gcc"], ("a", "b")), "")
    assert first == seeding.of(await loaded(["gcc", "-v"], ("b", "a")), "")
    assert first != seeding.of(await loaded(["gcc"], ("a",)), "")


@pytest.mark.parametrize("own_user", [False, True], ids=["root", "own_user"])
async def test_gcc_names_sections_of_flto_objects_by_it(tmp_path: Path, *, own_user: bool) -> None:
    async with cell(tmp_path, own_user=own_user) as made:
        plain = [(await made.shell(LTO, SOURCE)).files for _ in range(2)]
        seeds = [(await made.shell(LTO, SOURCE, seed=seed)).files for seed in ("1", "1", "2")]
    assert plain[0] != plain[1]
    assert seeds[0] == seeds[1] != seeds[2]


async def test_flto_objects_of_two_actions_link_together_and_run(tmp_path: Path) -> None:
    sources = {
        "a.c": b"static int s(void) { return 40; }\nint a(void) { return s(); }\n",
        "b.c": b"int a(void);\nstatic int s(void) { return 2; }\nint main() { return a() + s(); }",
    }
    async with cell(tmp_path) as made:
        objects: dict[str, bytes] = {}
        for name in "ab":
            script = f"gcc -O2 -flto -c {name}.c -o out/{name}.o"
            done = await made.shell(script, sources, seed=f"/b/{name}", path=f"/b/{name}")
            objects |= done.files
        done = await made.shell(
            "gcc -O2 -flto a.o b.o -o out/a; ./out/a; test $? = 42", objects, seed="/b/c"
        )
        assert "a" in done.files


async def test_build_ids_of_the_style_uuid_stay(tmp_path: Path) -> None:
    script = "gcc -shared -fPIC -Wl,--build-id=uuid a.c -o out/a.so"
    async with cell(tmp_path) as made:
        plain = [(await made.shell(script, SOURCE)).files for _ in range(2)]
        seeds = [(await made.shell(script, SOURCE, seed="1")).files for _ in range(2)]
    assert plain[0] != plain[1]
    assert seeds[0] == seeds[1]


async def test_maps_of_rust_macros_keep_their_order(tmp_path: Path) -> None:
    root = _sysroot()
    shown = {"sandbox": {"kind": "bubblewrap", "read_only": [*Bubblewrap().read_only, root]}}
    script = (
        f"{root}/bin/rustc --crate-type proc-macro m.rs && "
        f"{root}/bin/rustc --extern m=libm.so u.rs -o u && ./u"
    )
    sources = {"m.rs": MACRO, "u.rs": USER}
    async with cell(tmp_path, shown) as made:
        plain = [(await made.shell(script, sources)).stdout for _ in range(2)]
        seeds = [(await made.shell(script, sources, seed="1")).stdout for _ in range(2)]
    assert plain[0] != plain[1]
    assert seeds[0] == seeds[1]
    assert sorted(map(int, seeds[0].split())) == list(range(32))


def _sysroot() -> str:
    """Return where rustc and its libraries are, whoever installed it."""
    command = ["rustc", "--print", "sysroot"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
async def test_a_dynamic_program_asks_the_library(tmp_path: Path, kind: str) -> None:
    script = f"{PYTHON} -c 'import os, random; print(os.urandom(40), random.random())'"
    async with cell(tmp_path, {"sandbox": {"kind": kind}}) as made:
        seeds = [(await made.shell(script, seed=seed)).stdout for seed in ("1", "1", "2")]
    assert seeds[0] == seeds[1] != seeds[2]


async def test_threads_and_processes_draw_alike_whoever_comes_first(tmp_path: Path) -> None:
    script = """
import os, threading
found = []
def draw():
    found.append((os.urandom(8), os.urandom(8)))
threads = [threading.Thread(target=draw) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(set(found)) == 1 and found[0][0] != found[0][1]
"""
    async with cell(tmp_path) as made:
        await made.shell(f"{PYTHON} draw.py", {"draw.py": script.encode()}, seed="x")


async def test_a_device_has_an_end_and_cannot_be_written(tmp_path: Path) -> None:
    script = (
        "wc -c </dev/urandom; cmp /dev/urandom /dev/random; (echo x >/dev/urandom) 2>&1 | wc -l"
    )
    async with cell(tmp_path) as made:
        done = await made.shell(script, seed="x")
        assert done.stdout.split() == [str(seeded.RANDOM_BYTES), "1"]
        done = await made.shell("test -c /dev/urandom && head -c 1000000 /dev/urandom | wc -c")
        assert done.stdout.split() == ["1000000"]


async def test_a_commands_own_preloaded_library_stays(tmp_path: Path) -> None:
    own = b"int own(void) { return 7; }\n"
    async with cell(tmp_path) as made:
        built = await made.shell("gcc -shared -fPIC own.c -o out/own.so", {"own.c": own})
        script = (
            f'LD_PRELOAD= {PYTHON} -c \'import os; print(os.environ["HOLDFAST_SEED"] > "")\'; '
            f"{PYTHON} -c 'import ctypes, os; print(ctypes.CDLL(None).own(), os.urandom(4))'"
        )
        found = [
            (
                await made.shell(
                    script,
                    {"own.so": built.files["own.so"]},
                    environment={"LD_PRELOAD": "./own.so"},
                    seed="x",
                )
            ).stdout
            for _ in range(2)
        ]
    assert found[0] == found[1]
    assert found[0].splitlines()[1].startswith("7 ")


def test_a_worker_without_a_compiler_says_what_it_cannot(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from worker import seeded; "
        f"seeded.library(Path({str(tmp_path)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "NoCompiler: no C compiler makes a library here: cc: " in done.stderr
    made = seeded.library(tmp_path)
    assert made == seeded.library(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [made.name]
    assert Digest.of(made.read_bytes()).size < 64 * 1024
