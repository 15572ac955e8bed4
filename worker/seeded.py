"""Randomness that follows from an action, for compilers that name things by it.

Two ways, since programs have two: files take the place of /dev/urandom and /dev/random, and a
library that is loaded into every dynamic program answers getrandom and what stands on it. Neither
reaches programs that ask the kernel themselves, nor /proc/sys/kernel/random/uuid.

Each process, and each thread of it, gets the same bytes: which of them asks first would be a race.
Names that are random so that they are unlike others are alike then, which compilers bear (they
open files only if they are new); it is one reason why this is for named programs alone.
"""

from __future__ import annotations

import fnmatch
import hashlib
import logging
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from re_client.status import Refused
from re_config.schema import Prevention
from worker.command import Loaded
from worker.program import program_of

log = logging.getLogger(__name__)

PROPERTY = "holdfast-seeded-randomness"  # of a platform: wins over the lists
DEVICES = ("/dev/urandom", "/dev/random")
RANDOM_BYTES = 256 << 10  # of a file in a device's place; who reads on sees its end
SEED_BYTES = 8
VARIABLE = "HOLDFAST_SEED"  # hexadecimal
COMPILE_SECONDS = 60
COMPILERS = ("cc", "gcc", "clang")
# The generator is SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
# OOPSLA 2014. It stands on no library, so that it can be loaded beside any libc.
SOURCE = """\
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

extern char *getenv(const char *);
static __thread uint64_t state;
static __thread int begun;

static uint64_t next(void) {
    if (!begun) {
        const char *text = getenv("HOLDFAST_SEED");
        begun = 1;
        for (; text && *text; text++)
            state = state << 4 | (uint64_t)(*text <= '9' ? *text - '0' : *text - 'a' + 10);
    }
    uint64_t mixed = state += UINT64_C(0x9E3779B97F4A7C15);
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94D049BB133111EB);
    return mixed ^ mixed >> 31;
}

static void fill(void *into, size_t length) {
    unsigned char *bytes = into;
    uint64_t word = 0;
    for (size_t done = 0; done < length; done++, word >>= 8) {
        if (done % 8 == 0)
            word = next();
        bytes[done] = (unsigned char)word;
    }
}

ssize_t getrandom(void *into, size_t length, unsigned flags) {
    (void)flags;
    fill(into, length);
    return (ssize_t)length;
}

int getentropy(void *into, size_t length) {
    if (length > 256) {
        errno = EIO;
        return -1;
    }
    fill(into, length);
    return 0;
}

void arc4random_buf(void *into, size_t length) { fill(into, length); }

uint32_t arc4random(void) { return (uint32_t)next(); }

uint32_t arc4random_uniform(uint32_t bound) { return bound ? arc4random() % bound : 0; }
"""


class NoCompiler(RuntimeError):
    """The library cannot be made here."""


@dataclass(frozen=True, slots=True)
class Seeding:
    """Settles which actions get such randomness."""

    prevent: Prevention

    def of(self, loaded: Loaded, mnemonic: str) -> str:
        """Return what the action's randomness is drawn from, "" to leave it to the system.

        It is the same for the same set of outputs, and another for others: objects whose names
        are drawn from it can then be linked together.
        Raises Refused if the platform property has a value that says nothing.
        """
        if not self.prevent.randomness:
            return ""
        said = asked(loaded)
        if said is None:
            prevent = self.prevent
            named = _matches(program_of(loaded.command.arguments), prevent.seeded_programs)
            said = named or _matches(mnemonic, prevent.seeded_mnemonics)
        return loaded.path if said else ""


def asked(loaded: Loaded) -> bool | None:
    """Return what the action's platform says, None if nothing; raise Refused if that is unclear."""
    platform = loaded.action.platform if loaded.action.HasField("platform") else None
    for property in (platform or loaded.command.platform).properties:
        if property.name == PROPERTY:
            if property.value not in {"on", "off"}:
                raise Refused(f'the platform property {PROPERTY} is "on" or "off"')
            return property.value == "on"
    return None


def _matches(name: str, globs: Iterable[str]) -> bool:
    return bool(name) and any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def write_random(path: Path, seed: str) -> None:
    """Write what is to stand in a device's place."""
    path.write_bytes(blake3(seed.encode()).digest(RANDOM_BYTES))
    path.chmod(0o444)


def variables(seed: str, library: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return what has the library loaded, beside what `given` has loaded already."""
    loaded = " ".join(filter(None, [given.get("LD_PRELOAD", ""), library]))
    digest = hashlib.sha256(seed.encode()).digest()[:SEED_BYTES]
    return {"LD_PRELOAD": loaded, VARIABLE: digest.hex()}


def library(folder: Path) -> Path:
    """Return the library, which is compiled in `folder` if it is not there; raise NoCompiler."""
    version = hashlib.sha256(SOURCE.encode()).hexdigest()[:12]
    path = folder / f"seeded-{version}.so"
    if path.exists():
        return path
    faults: list[str] = []
    for compiler in COMPILERS:
        try:
            _compile(compiler, path)
        except (OSError, subprocess.SubprocessError) as error:
            faults.append(f"{compiler}: {_said(error)}")
        else:
            return path
    raise NoCompiler(f"no C compiler makes a library here: {'; '.join(faults)}")


def _compile(compiler: str, path: Path) -> None:
    unfinished = path.with_suffix(".new")
    options = ["-shared", "-fPIC", "-O2", "-nostdlib", "-x", "c", "-", "-o", str(unfinished)]
    subprocess.run(  # noqa: S603
        [compiler, *options],
        input=SOURCE.encode(),
        check=True,
        capture_output=True,
        timeout=COMPILE_SECONDS,
        env={**os.environ, "LC_ALL": "C"},
    )
    unfinished.chmod(0o555)
    unfinished.rename(path)


def _said(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return str(error.stderr.decode(errors="replace").strip()[-300:])
    return str(error)
