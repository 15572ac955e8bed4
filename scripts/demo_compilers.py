"""A work space for Bazel 4.2.3 whose tools do not give the same bytes twice of themselves.

Each part has something whose bytes vary, and actions that consume it:

- stamped: a generator that writes the time and a random number, and C++ on top of it;
- archive: a static library whose members carry times, and a program that links it;
- lto: objects of `gcc -flto`, which have random names in them, and the program made of them;
- cuda: objects of nvcc, which have paths and process numbers in them, and the program made of them;
- rust: a library whose debug information has paths in it, and a program that uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from lab.tools import search_path

PARTS = ("stamped", "archive", "lto", "cuda", "rust")
GENERATOR = "//stamped:stamp"
SOURCES = 3
"""C++ files on top of the generator."""

KERNELS = 3

PACKED = """
genrule(
    name = "packed",
    srcs = [":app"],
    outs = ["app.gz"],
    cmd = "gzip --no-name < $< > $@",
)
"""
"""An action on top of the program of each part."""


def write_work_space(folder: Path) -> None:
    """Write it into `folder`."""
    files = {"WORKSPACE": 'workspace(name = "compilers")\n', "BUILD": ""}
    for name, part in zip(PARTS, (stamped(), archive(), lto(), cuda(), rust()), strict=True):
        files |= {f"{name}/{file}": text for file, text in part.items()}
        files[f"{name}/BUILD"] += PACKED
    for file, text in files.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def options() -> tuple[str, ...]:
    """Return the options of `bazel build` with which actions find their compilers."""
    return (f"--action_env=PATH={search_path()}",)


def stamped() -> Mapping[str, str]:
    numbers = range(SOURCES)
    rules = dedent("""\
        genrule(
            name = "stamp",
            srcs = ["stamp.sh"],
            outs = ["stamp.h"],
            cmd = "sh $< > $@",
        )
        cc_library(
            name = "noted",
            srcs = glob(["note*.cc"]) + [":stamp"],
        )
        cc_binary(
            name = "app",
            srcs = ["main.cc"],
            deps = [":noted"],
        )
    """)
    script = dedent("""\
        echo "#define TIME $(date +%s%N)"
        echo "#define NUMBER 0x$(od -N4 -An -tx4 /dev/urandom | tr -d ' ')u"
    """)
    note = '#include "stamped/stamp.h"\n{}unsigned note{}() {{ return {} ^ NUMBER; }}\n'
    names = [f"note{number}" for number in numbers]
    declared = "".join(f"unsigned {name}();\n" for name in names)
    total = " ^ ".join(f"{name}()" for name in names)
    return {
        "BUILD": rules,
        "stamp.sh": script,
        **{f"note{n}.cc": note.format("unsigned long made = TIME;\n" * (not n), n, n)
           for n in numbers},
        "main.cc": f"{declared}int main() {{ return ({total}) & 1; }}\n",
    }  # fmt: skip


def archive() -> Mapping[str, str]:
    rules = dedent("""\
        genrule(
            name = "parts",
            srcs = ["one.c", "two.c"],
            outs = ["libparts.a"],
            cmd = "gcc -c $(SRCS) && ar rcsU $@ one.o two.o",
        )
        cc_binary(
            name = "app",
            srcs = ["main.cc", ":parts"],
        )
    """)
    main = (
        'extern "C" int one();\nextern "C" int two();\nint main() { return one() - two() + 1; }\n'
    )
    return {
        "BUILD": rules,
        "one.c": "int one(void) { return 1; }\n",
        "two.c": "int two(void) { return 2; }\n",
        "main.cc": main,
    }


def lto() -> Mapping[str, str]:
    # Without Bazel's own -frandom-seed, as rules have it that do not know of it.
    rules = dedent("""\
        cc_binary(
            name = "app",
            srcs = ["main.cc", "one.cc", "two.cc"],
            copts = ["-O2", "-flto"],
            features = ["-random_seed"],
            linkopts = ["-O2", "-flto"],
            linkstatic = True,
        )
    """)
    return {
        "BUILD": rules,
        "one.cc": "int two(int);\nint one(int n) { return n < 1 ? 0 : two(n - 1) + 1; }\n",
        "two.cc": "int one(int);\nint two(int n) { return n < 1 ? 0 : one(n - 1) + 2; }\n",
        "main.cc": "int one(int);\nint main(int argc, char **) { return one(argc) - 1; }\n",
    }


def cuda() -> Mapping[str, str]:
    compiled = "".join(
        dedent(f"""\
            genrule(
                name = "kernel{number}",
                srcs = ["kernel{number}.cu"],
                outs = ["kernel{number}.o"],
                cmd = "nvcc -rdc=true -arch=sm_80 -dc $< -o $@",
            )
        """)
        for number in range(KERNELS)
    )
    linked = dedent(f"""\
        genrule(
            name = "app",
            srcs = ["main.cu"] + [":kernel%d" % number for number in range({KERNELS})],
            outs = ["program"],
            cmd = "nvcc -rdc=true -arch=sm_80 $(SRCS) -o $@",
        )
    """)
    kernel = dedent("""\
        namespace {{ __device__ int weight = {0}; }}
        __device__ int step{0}(int n) {{ return n * weight; }}
        static __global__ void run{0}(int *n) {{ *n = step{0}(*n); }}
        void launch{0}(int *n) {{ run{0}<<<1, 1>>>(n); }}
    """)
    declared = "".join(f"void launch{number}(int *);\n" for number in range(KERNELS))
    called = " ".join(f"launch{number}(nullptr);" for number in range(KERNELS))
    return {
        "BUILD": compiled + linked,
        **{f"kernel{number}.cu": kernel.format(number) for number in range(KERNELS)},
        "main.cu": f"{declared}int main() {{ {called} }}\n",
    }


def rust() -> Mapping[str, str]:
    rules = dedent("""\
        genrule(
            name = "library",
            srcs = ["library.rs"],
            outs = ["liblibrary.rlib"],
            cmd = "rustc --edition 2021 --crate-type rlib -O -g $< -o $@",
        )
        genrule(
            name = "app",
            srcs = ["main.rs", ":library"],
            outs = ["program"],
            cmd = "rustc --edition 2021 -O --extern library=$(location :library) " +
                  "$(location main.rs) -o $@",
        )
    """)
    return {
        "BUILD": rules,
        "library.rs": 'pub fn greeting(n: usize) -> String { "held fast ".repeat(n) }\n',
        "main.rs": 'fn main() { println!("{}", library::greeting(2)); }\n',
    }
