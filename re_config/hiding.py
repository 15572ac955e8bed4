"""Files of Holdfast's own that no action may read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from re_config.load import expanded
from re_config.schema import Bubblewrap, Config


def with_own_files_hidden(config: Config, also: Iterable[Path]) -> Config:
    """Return `config` with a sandbox that hides the store, and `also`, whatever it shows.

    also: the configuration, and files of keys and tokens that were given elsewhere.
    """
    sandbox = config.worker.sandbox
    if not isinstance(sandbox, Bubblewrap):
        return config
    named = [config.store.path, config.ledger.path, config.server.tls.key, config.access.tokens]
    if "://" not in config.access.jwt.keys:
        named.append(config.access.jwt.keys)
    own = [*(expanded(path) for path in named if path), *also]
    hidden = (*sandbox.hidden, *(str(path.absolute()) for path in own))
    worker = replace(config.worker, sandbox=replace(sandbox, hidden=hidden))
    return replace(config, worker=worker)
