"""What a configuration may say.

One TOML file; every field has a default, so that `holdfast serve` needs none. The docstrings here
are the reference: docs/config.md is generated from them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from re_config.access_tables import Access, Admission, Tls
from re_config.asset_table import Assets
from re_config.chunking_tables import Chunking
from re_config.determinism_tables import Determinism, Instance, Ledger
from re_config.table import GIB, HOUR, MIB, Address, Count, Fraction, Seconds, Table


class Server(Table, frozen=True):
    """Where the server listens, and how much one client may ask of it."""

    listen: Address = "127.0.0.1:8980"
    """Where gRPC is served."""

    web: Address = "127.0.0.1:8981"
    """Where /metrics, /healthz, /readyz and the HTTP cache are served over HTTP, or HTTPS with
    server.tls."""

    http_cache: bool = True
    """Serve blobs at /cas/HASH and results of actions at /ac/HASH of `web`, for Bazel's
    `--remote_cache=http://HOST:PORT` and others that speak its protocol. Another instance than ""
    stands before that: /INSTANCE/cas/HASH. The same rights are needed as over gRPC."""

    allow_insecure_listen: bool = False
    """Allow an address beyond loopback without both server.tls and access."""

    max_message_bytes: Annotated[int, Meta(ge=5 * MIB)] = 64 * MIB
    """Largest gRPC message that is accepted. Clients cut their batches by blob sizes alone, so
    this is to be well above max_batch_bytes."""

    max_batch_bytes: Count = 4_000_000
    """Announced bound on the blobs of one BatchUpdateBlobs or BatchReadBlobs call."""

    max_blob_bytes: Annotated[int, Meta(ge=0)] = 0
    """Announced bound on one blob that a client uploads, in whatever way; 0 for none. Outputs of
    actions are bound by worker.max_output_bytes alone."""

    max_inline_bytes: Count = MIB
    """Most bytes of stdout, stderr and files put into one ActionResult on request. Clients stop
    reading a message at 4 MiB."""

    max_open_writes: Count = 1000
    """Uploads that are begun and not finished, over all clients."""

    max_metadata_bytes: Annotated[int, Meta(ge=8192)] = 64 * 1024
    """Largest set of headers of one call."""

    drain_seconds: Seconds = 30
    """How long a graceful stop waits for calls and actions that are under way."""

    tls: Tls = field(default_factory=Tls)
    admission: Admission = field(default_factory=Admission)


class Disk(Table, frozen=True, tag_field="kind", tag="disk"):
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

    compression: Literal["off", "zstd"] = "off"
    """Keep blobs in files compressed (zstd) where their first 256 KiB say that it pays. What
    compilers and linkers write comes to a fifth to a half of its size; max_bytes counts what is
    stored. Uploads that are not compressed cost twice the processor time then, and reads by clients
    that take zstd (Bazel's --remote_cache_compression) a tenth: they are sent what is stored. Blobs
    that are there stay as they are. Once it was on, older versions refuse the store."""

    compression_saves: Fraction = 0.2
    """Part of these 256 KiB that compression has to save."""

    durability: Literal["process", "fsync"] = "process"
    """What an acknowledged write survives: the server being killed, or (fsync) loss of power."""


class Execution(Table, frozen=True):
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


class Bubblewrap(Table, frozen=True, tag_field="kind", tag="bubblewrap"):
    """Each action in name spaces of its own: processes, mounts, network, host name, users."""

    program: str = "bwrap"
    """The bubblewrap program."""

    read_only: tuple[str, ...] = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc",
                                  "/opt")  # fmt: skip
    """Paths of the host that actions see, read-only. Those that are not there are left out."""

    hidden: tuple[str, ...] = ("/etc/holdfast",)
    """Files and folders of the host that actions do not see, though they lie below a path of
    read_only. The folders of worker and store, the configuration, and the files of keys and tokens
    that it names are hidden of themselves."""

    network: bool = False
    """Let actions reach the host's network."""


class NoSandbox(Table, frozen=True, tag_field="kind", tag="none"):
    """Actions run as plain processes, for machines without user name spaces.

    Given up: actions see the whole host and its network, each other's files and processes, and the
    path they run at differs from run to run, so that far fewer results are reproducible.
    """


class Prevention(Table, frozen=True):
    """What the sandbox keeps the same from run to run and from worker to worker.

    Each switch names what would otherwise get into outputs. Processes, mounts and, unless
    `worker.sandbox.network` says otherwise, the network are apart in every bubblewrap sandbox.
    `holdfast worker --explain` says which of these a host can keep.
    """

    path: bool = True
    """Show each input root at /b/ and twelve digits that follow from the action's output paths:
    prevents paths in debug information and names that compilers make from paths. Off: at a path
    of its own in each run."""

    addresses: bool = True
    """Load programs at the same addresses in every run: prevents addresses in outputs, and orders
    that follow from them. Off: addresses are randomised, as the system does."""

    host_name: bool = True
    """Name the host holdfast: prevents the worker's name in outputs."""

    ipc: bool = True
    """Give each action message queues, semaphores and shared memory of its own: prevents what
    other programs on the host have there."""

    users: bool = True
    """Run actions under one user id, with the same short lists of users and groups: prevents names
    and numbers of the worker's accounts in archives. Off: the host's lists, and without root the
    worker's own id."""

    machine: bool = True
    """Show the same /etc/hosts, /etc/hostname, /etc/machine-id and /etc/timezone everywhere:
    prevents what these say of the worker."""

    umask: bool = True
    """Create files with the umask 022: prevents modes that follow from how the worker was started.
    Off: the worker's own."""

    locale: bool = True
    """Set LC_ALL=C where the Command sets no variable of the locale: prevents sort orders and
    messages of another language. Off: the worker's own variables."""

    time_zone: bool = True
    """Set TZ=UTC where the Command does not set TZ: prevents local times. Off: the worker's own
    TZ, if it has one."""

    home: bool = True
    """Give an empty HOME of its own to an action whose Command sets none: prevents settings and
    caches that tools keep there. Off: no HOME."""

    temporary: bool = True
    """Give each action an empty /tmp, /var/tmp and /dev/shm: prevents what other actions left
    there. Off: actions of a worker share them, until it is started again."""

    modified: bool = True
    """Give all inputs one modification time, 2000-01-01T00:00:00Z: prevents times of inputs in
    archives. Off: the time at which they were put there; inputs are then copied."""

    order: bool = True
    """Create inputs in sorted order: prevents orders of directory listings, on file systems that
    list in the order of creation (worker.working_tree = "tmpfs" is one). Off: any order."""

    epoch: bool = True
    """Set SOURCE_DATE_EPOCH to epoch_seconds where the Command does not set it: prevents the
    time of the build in what compilers and packagers write."""

    epoch_seconds: Annotated[int, Meta(ge=0)] = 946_684_800
    """Seconds since 1970, by default 2000-01-01T00:00:00Z. Zip archives cannot hold a time before
    1980."""

    hash_seed: bool = True
    """Set PYTHONHASHSEED=0 where the Command does not set it: prevents orders of Python's sets."""

    archive_dates: bool = True
    """Set ZERO_AR_DATE=1 where the Command does not set it: prevents times in what LLVM's tools for
    Mach-O write."""

    processors: Annotated[int, Meta(ge=0)] = 0
    """Processors that an action may use and counts: the same number on all workers prevents outputs
    that follow from it. 0: as many as there are."""

    randomness: bool = True
    """Give programs that seeded_programs and seeded_mnemonics name randomness that follows from the
    action's output paths: prevents random names in gcc's -flto objects, build ids of the style
    uuid, and orders of Rust's hash maps. Keys made with it can be foretold, so only compilers and
    linkers should be named. The platform property `holdfast-seeded-randomness`, `on` or `off`,
    wins for one action."""

    seeded_programs: tuple[str, ...] = (
        "cc", "gcc", "gcc-[0-9]*", "*-gcc", "*-gcc-[0-9]*",
        "c++", "g++", "g++-[0-9]*", "*-g++", "*-g++-[0-9]*",
        "clang", "clang-[0-9]*", "clang++", "clang++-[0-9]*",
        "ld", "ld.*", "lld", "gold", "mold", "rustc", "nvcc",
    )  # fmt: skip
    """Globs over names of programs, without their folders, that get such randomness, also behind
    `env` and in a shell's command line. Programs that these start get it too."""

    seeded_mnemonics: tuple[str, ...] = (
        "CppCompile", "CppLink", "CppModuleCompile", "ObjcCompile", "ObjcLink", "CudaCompile",
        "CudaDeviceLink", "Rustc", "RustcMetadata",
    )  # fmt: skip
    """Globs over the mnemonics of actions that get it, as Bazel sends them."""


class Worker(Table, frozen=True):
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

    working_tree: Literal["disk", "tmpfs"] = "disk"
    """Where actions run: below path, or in memory below memory_path. On disk, directories are
    listed in an order of the file system's own; tmpfs lists them as they were made, the same on
    every worker. There inputs are copied, and what actions write counts as memory."""

    memory_path: str = "/dev/shm"  # noqa: S108 - folders below it are made for this user alone
    """A folder on tmpfs that programs can be run from. Audits that vary the order of directories
    use it too, where it is one."""

    toolchain: str = ""
    """What the tools that actions see are called, to tell workers with different compilers apart.
    Empty: a digest of the host's release, packages and programs."""

    sandbox: Bubblewrap | NoSandbox = field(default_factory=Bubblewrap)
    """What actions run in."""

    prevent: Prevention = field(default_factory=Prevention)


class Limits(Table, frozen=True):
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


class Logs(Table, frozen=True):
    """Log streams: what running actions write, and logs that clients write for others to read."""

    max_stream_bytes: Count = 128 * MIB
    """Bytes of one log; it ends there, with a line that says so. Well above worker.max_stdio_bytes,
    the output of every action is whole."""

    max_bytes: Count = 4 * GIB
    """Bytes of all logs, in a folder of the store beside its blobs. Where they do not suffice,
    finished logs go, the oldest first."""

    max_streams: Annotated[int, Meta(ge=2)] = 20_000
    """Logs that are open or kept; an action has two. Where they do not suffice, finished logs go;
    where all are open, new actions run without, and clients are refused with RESOURCE_EXHAUSTED."""

    keep_seconds: Seconds = 600
    """How long a finished log can be read."""


class Config(Table, frozen=True):
    """The whole file."""

    server: Server = field(default_factory=Server)
    store: Disk = field(default_factory=Disk)
    instances: dict[str, Instance] = field(default_factory=dict)
    """Instance names that are served, "" being one. Where none is given, every name is served with
    the defaults, or as `default` says."""
    default: Instance = field(default_factory=Instance)
    """How instance names are served that stand in no table of their own, if none has one."""
    access: Access = field(default_factory=Access)
    execution: Execution = field(default_factory=Execution)
    logs: Logs = field(default_factory=Logs)
    determinism: Determinism = field(default_factory=Determinism)
    worker: Worker = field(default_factory=Worker)
    ledger: Ledger = field(default_factory=Ledger)
    assets: Assets = field(default_factory=Assets)
    limits: Limits = field(default_factory=Limits)
    chunking: Chunking = field(default_factory=Chunking)
