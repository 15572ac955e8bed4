"""What a configuration may say of instances, and of results that differ."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from action_cache.mode import Mode
from cas.digest import DigestFunction
from re_config.table import GIB, MIB, Count, Seconds, Table


class TextRule(Table, frozen=True):
    """What a pattern matches in text outputs becomes a fill of the same length."""

    name: str
    """What it is called in records."""

    pattern: str
    """Regular expression as RE2 has them, matched within a line."""

    fill: str = "0"
    """What is written in its place, repeated and cut to the length of the match."""

    outputs: str = "*"
    """Glob over the paths of outputs; `*` matches `/` too."""

    mnemonic: str = ""
    """Mnemonic of the actions it is for, as Bazel sends it; empty for all."""


class Instance(Table, frozen=True):
    """How one instance name is served."""

    digest_function: DigestFunction = DigestFunction.SHA256
    """What a digest is where the client does not say and its length fits this function. Buck2
    never says: set blake3 where its digest_algorithms start with BLAKE3."""

    determinism: Mode = Mode.PIN
    """off: nothing is compared. observe: results are compared and counted, the newest is served.
    pin: the first result is served. strict: as pin, and a result that differs fails the action.
    An action's platform property `holdfast-determinism` wins."""

    canonicalise: Literal["off", "learned", "all"] = "learned"
    """Which formats workers bring outputs into canonical form of, whatever the mode. learned: those
    that are harmless in themselves, and for each program those that its outputs were seen to differ
    in. all: every one. An action's platform property `holdfast-canonicalise` wins."""

    formats: tuple[str, ...] = ()
    """Formats that are applied beside those, by their names in docs/canonical-forms.md."""

    text_rules: tuple[TextRule, ...] = ()
    """Rewritings of your own for text outputs. They can break what reads the outputs: keep them
    narrow."""

    update_requires_action: bool = True
    """Refuse results that clients upload before the Action and the Command. Turn off for clients
    whose action digests name nothing in the store, such as moon."""

    lenient: bool = False
    """Take what the protocol forbids and bazel-remote sends to a server behind its gRPC proxy:
    uploads over ByteStream whose messages leave out write_offset and finish_write, once they are
    the whole blob; results of actions asked for and uploaded by the hash, with -1 or any other
    number for the size; results that overtake their blobs, which are waited for up to 13 seconds;
    and FetchBlob without URIs, for a blob of the store by its checksum."""

    allow_pin_replace: bool = False
    """Let callers replace a pinned result with the header `holdfast-pin: replace`."""

    confirmations: Annotated[int, Meta(ge=0)] = 2
    """How many callers who may only propose results have to upload the same one before everyone is
    answered with it, byte for byte. Until then each of them alone is. 0: however many there are, a
    run by a worker or an upload by a caller who may write decides. 1 is refused."""


class Audit(Table, frozen=True):
    """Running actions again under other conditions, to find what their results depend on."""

    sample: Annotated[float, Meta(ge=0, le=1)] = 0.01
    """Part of the executed actions that is audited when workers have nothing else to do, spread
    over the programs that they run. 0 for none; `holdfast audit` works even so."""

    runs: Count = 5
    """Runs for each factor once a difference was seen. Fewer blame wrong ones."""

    max_seconds: Seconds = 60
    """Actions that took longer are audited only when asked for by `holdfast audit`."""

    max_waiting: Count = 1000
    """Sampled actions that wait for their audit; what is sampled beyond that is left out."""


class Proposals(Table, frozen=True):
    """Results of callers who may only propose them, which these callers alone are answered with."""

    max_per_writer: Count = 10_000
    """Proposals that are kept of one caller; the oldest give way."""

    max_proposals: Count = 100_000
    """Proposals that are kept of all callers together."""

    verify: Annotated[float, Meta(ge=0, le=1)] = 0
    """Part of the proposals whose actions the server runs itself when workers have nothing else to
    do, where all inputs are in the store: what that run gives becomes everyone's."""

    max_waiting: Count = 1000
    """Proposals that wait for such a run; what comes beyond that is left out."""


class Determinism(Table, frozen=True):
    """What is done about results that differ, over all instances."""

    arbitrate: bool = True
    """Run an action again in the background when a result differs from the pinned one, to tell
    non-determinism from corruption and poisoning."""

    audit: Audit = field(default_factory=Audit)
    proposals: Proposals = field(default_factory=Proposals)


class Ledger(Table, frozen=True):
    """What is remembered of every result, to say which actions differ, and why."""

    enabled: bool = True
    """Keep a ledger. Without it nothing is known of past differences, and no format is learned."""

    path: str = ""
    """The ledger's file; `ledger.sqlite` in the store's folder where it is empty."""

    max_age_days: Annotated[float, Meta(gt=0, le=3650)] = 90
    """How long results are remembered; those that differed, four times as long."""

    max_bytes: Annotated[int, Meta(ge=16 * MIB)] = GIB
    """Largest size of the file. The oldest goes first; a result takes some 500 bytes."""
