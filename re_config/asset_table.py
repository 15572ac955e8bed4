"""What a configuration may say of assets: archives, files and repositories of the outside world."""

from __future__ import annotations

from assets.limits import AssetLimits, FetchLimits, UnpackLimits
from cas.tree import TreeLimits
from re_config.table import GIB, HOUR, Count, Seconds, Table


class Assets(Table, frozen=True):
    """The Remote Asset API: what clients push, and what the server fetches for them.

    An origin is written SCHEME://HOST[:PORT]/PATH, with the schemes http, https and file. The host
    is a name, an address, `*.DOMAIN` for all names below a domain, or `*`. In the path `*` stands
    for anything within one segment, and `**`, as the last one, for the rest. Queries are not looked
    at. Redirects lead only to places that are listed too.
    """

    enabled: bool = True
    """Serve the Fetch and Push services. What is pushed is answered whatever is listed below."""

    allow: tuple[str, ...] = ()
    """Origins that the server may fetch from, such as `https://github.com/**`,
    `https://*.example.com/releases/**` or `file:///srv/assets/**`. Empty: from none. Hosts
    must have addresses on the public internet; files must lie there without symlinks that lead
    elsewhere."""

    allow_private: tuple[str, ...] = ()
    """Origins likewise, whose hosts may have any address: mirrors in the server's own network, or
    on its own machine. Whoever may fetch reaches them with the server's rights."""

    max_bytes: Count = 10 * GIB
    """Largest file that is fetched, and largest pack of a git repository."""

    max_unpacked_bytes: Count = 20 * GIB
    """Most bytes that an archive or a revision may unpack to."""

    max_entries: Count = 500_000
    """Most entries of an archive or a revision."""

    max_ratio: Count = 200
    """How many times larger than itself an archive may become, once it is more than 64 MiB."""

    max_fetches: Count = 16
    """Fetches at one time; others wait for their turn."""

    default_timeout_seconds: Seconds = 600
    """How long a fetch may take where the client says nothing."""

    max_timeout_seconds: Seconds = HOUR
    """Longest time that a fetch is given; a client that asks for more gets this."""

    fresh_seconds: Seconds = HOUR
    """How long what was fetched without a checksum, or a full commit, is answered again before its
    origin is asked anew."""

    max_known: Count = 100_000
    """Pushed and fetched assets that are remembered; the oldest are forgotten first. Each takes
    some 200 bytes of the index."""


def asset_limits(assets: Assets, tree: TreeLimits) -> AssetLimits:
    return AssetLimits(
        max_known=assets.max_known,
        max_fetches=assets.max_fetches,
        fresh_seconds=assets.fresh_seconds,
        fetch=FetchLimits(
            assets.max_bytes,
            UnpackLimits(assets.max_entries, assets.max_unpacked_bytes, assets.max_ratio),
        ),
        tree=tree,
    )
