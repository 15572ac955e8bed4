"""What a configuration may say.

One TOML file; every field has a default, so that `holdfast serve` needs none. The docstrings here
are the reference: docs/config.md is generated from them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from action_cache.mode import Mode
from cas.digest import DigestFunction

MIB = 1 << 20
GIB = 1 << 30
HOUR = 3600

Count = Annotated[int, Meta(gt=0)]
Fraction = Annotated[float, Meta(gt=0, le=1)]
Seconds = Annotated[float, Meta(gt=0, le=10 * 365 * 24 * HOUR)]
Address = Annotated[str, Meta(pattern=r"^.+:\d{1,5}$", description="HOST:PORT; port 0: any free")]


class _Table(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: its fields are all there may be."""


class Server(_Table, frozen=True):
    """Where the server listens, and how much one client may ask of it."""

    listen: Address = "127.0.0.1:8980"
    """Where gRPC is served."""

    web: Address = "127.0.0.1:8981"
    """Where /metrics, /healthz and /readyz are served over HTTP."""

    allow_insecure_listen: bool = False
    """Allow an address beyond loopback, though nothing is encrypted and no caller is checked."""

    max_message_bytes: Annotated[int, Meta(ge=5 * MIB)] = 64 * MIB
    """Largest gRPC message that is accepted. Clients cut their batches by blob sizes alone, so
    this is to be well above max_batch_bytes."""

    max_batch_bytes: Count = 4_000_000
    """Announced bound on the blobs of one BatchUpdateBlobs or BatchReadBlobs call."""

    max_inline_bytes: Count = MIB
    """Most bytes of stdout, stderr and files put into one ActionResult on request. Clients stop
    reading a message at 4 MiB."""

    max_open_writes: Count = 1000
    """Uploads that are begun and not finished, over all clients."""

    max_metadata_bytes: Annotated[int, Meta(ge=8192)] = 64 * 1024
    """Largest set of headers of one call."""

    drain_seconds: Seconds = 30
    """How long a graceful stop waits for calls and actions that are under way."""


class Disk(_Table, frozen=True, tag_field="kind", tag="disk"):
    """Blobs in files below one folder, small ones in an LMDB index beside them."""

    path: str = "~/.local/share/holdfast"
    """Folder of the store. It is made if it is not there."""

    max_bytes: Count = 50 * GIB
    """Bytes of blobs to keep. New blobs are refused when they would exceed it and nothing may be
    evicted."""

    high_water: Fraction = 0.95
    """Part of max_bytes at which eviction starts."""

    low_water: Fraction = 0.85
    """Part of max_bytes at which eviction ends."""

    lease_seconds: Seconds = 12 * HOUR
    """How long a blob is held against eviction after a client was told that it is there, or was
    given a result that refers to it."""

    upload_lease_seconds: Seconds = HOUR
    """How long a blob is held after it was uploaded or read."""

    inline_bytes: Annotated[int, Meta(ge=0, le=64 * 1024)] = 16 * 1024
    """Blobs up to this size live in the index, larger ones in a file each."""

    index_bytes: Annotated[int, Meta(ge=64 * MIB)] = 256 * GIB
    """Address space reserved for the index; disk is used only as it grows."""

    durability: Literal["process", "fsync"] = "process"
    """What an acknowledged write survives: the server being killed, or (fsync) loss of power."""


class Instance(_Table, frozen=True):
    """How one instance name is served."""

    digest_function: DigestFunction = DigestFunction.SHA256
    """What a digest is where the client does not say and its length fits this function. Buck2
    never says: set blake3 where its digest_algorithms start with BLAKE3."""

    determinism: Mode = Mode.PIN
    """off: nothing is compared. observe: results are compared and counted, the newest is served.
    pin: outputs are canonicalised and the first result is served. strict: as pin, and a result
    that differs fails the action. An action's platform property `holdfast-determinism` wins."""

    update_requires_action: bool = True
    """Refuse results that clients upload before the Action and the Command. Turn off for clients
    whose action digests name nothing in the store, such as moon."""

    allow_pin_replace: bool = False
    """Let callers replace a pinned result with the header `holdfast-pin: replace`."""


class Execution(_Table, frozen=True):
    """Running actions."""

    enabled: bool = True
    """Serve the Execution service. Without it the server is a cache alone."""

    max_queued: Count = 100_000
    """Actions that wait; more are refused with RESOURCE_EXHAUSTED."""

    default_timeout_seconds: Seconds = HOUR
    """Running time of an action that names none."""

    max_timeout_seconds: Seconds = 24 * HOUR
    """Longest running time that an action may ask for; more is refused."""

    heartbeat_seconds: Seconds = 20
    """How often the current state of a running action is repeated to who waits for it."""

    keep_finished_seconds: Seconds = 600
    """How long a finished operation can be asked for."""

    max_finished: Count = 10_000
    """Finished operations that are kept at most."""

    abandoned_seconds: Seconds = 60
    """How long a queued action stays after the last client that waited for it went away."""

    max_attempts: Count = 3
    """Workers that are tried when the one that runs an action is lost."""

    no_worker_seconds: Seconds = 60
    """How long an action waits for a first worker of its platform before it is refused."""


class Bubblewrap(_Table, frozen=True, tag_field="kind", tag="bubblewrap"):
    """Each action in name spaces of its own: processes, mounts, network, host name, users."""

    program: str = "bwrap"
    """The bubblewrap program."""

    read_only: tuple[str, ...] = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc",
                                  "/opt")  # fmt: skip
    """Paths of the host that actions see, read-only. Those that are not there are left out."""

    network: bool = False
    """Let actions reach the host's network."""


class NoSandbox(_Table, frozen=True, tag_field="kind", tag="none"):
    """Actions run as plain processes, for machines without user name spaces.

    Given up: actions see the whole host and its network, each other's files and processes, and the
    path they run at differs from run to run, so that far fewer results are reproducible.
    """


class Worker(_Table, frozen=True):
    """A worker: the one inside `holdfast serve`, or one that `holdfast worker` starts."""

    enabled: bool = True
    """Run a worker inside the server."""

    name: str = ""
    """Name of the worker; the host's name and process id where it is empty."""

    slots: Annotated[int, Meta(ge=0)] = 0
    """Actions run at one time; 0 is one for each processor."""

    platform: dict[str, str | tuple[str, ...]] = field(
        default_factory=lambda: {"OSFamily": ("linux", "Linux")}
    )
    """Platform properties that the worker serves, each with one value or a list of them. An
    action runs where each property that it asks for is served."""

    path: str = "~/.cache/holdfast/worker"
    """Folder for the worker's copies of inputs and for the folders that actions run in. Both are
    on one file system, so that inputs can be linked."""

    cache_bytes: Count = 10 * GIB
    """Bytes of inputs that the worker keeps for later actions."""

    inputs: Literal["auto", "hardlink", "copy"] = "auto"
    """How inputs get into an action's folder. hardlink needs a worker that starts as root, so that
    actions run as another user and cannot change what they are linked to; copy uses reflinks where
    the file system has them; auto takes the best that is safe."""

    max_output_bytes: Count = 20 * GIB
    """Bytes that the outputs of one action may have in all."""

    max_stdio_bytes: Count = 64 * MIB
    """Bytes of stdout, and of stderr, that are kept of one action; the rest is dropped and the
    dropping is said at the end of what is kept."""

    env_path: str = "/usr/local/bin:/usr/bin:/bin"
    """PATH of actions whose Command sets none."""

    sandbox: Bubblewrap | NoSandbox = field(default_factory=Bubblewrap)
    """What actions run in."""


class Limits(_Table, frozen=True):
    """Bounds on what a client may name."""

    tree_depth: Count = 256
    """Directories on the longest path of an input root or GetTree."""

    tree_directories: Count = 200_000
    """Different directories of one tree."""

    tree_entries: Count = 2_000_000
    """Entries of one tree, each directory counted once."""

    tree_paths: Count = 2_000_000
    """Paths that one input root unfolds to."""

    message_blob_bytes: Count = 64 * MIB
    """Largest blob that is read as an Action, Command, Directory or Tree."""


class Config(_Table, frozen=True):
    """The whole file."""

    server: Server = field(default_factory=Server)
    store: Disk = field(default_factory=Disk)
    instances: dict[str, Instance] = field(default_factory=dict)
    """Instance names that are served, "" being one. Where none is given, every name is served with
    the defaults, or as `default` says."""
    default: Instance = field(default_factory=Instance)
    """How instance names are served that stand in no table of their own, if none has one."""
    execution: Execution = field(default_factory=Execution)
    worker: Worker = field(default_factory=Worker)
    limits: Limits = field(default_factory=Limits)
