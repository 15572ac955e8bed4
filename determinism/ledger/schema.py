"""The ledger's file: its tables, and how it is opened. docs/ledger.md says what they mean."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

FORMAT = 1  # PRAGMA user_version
WAIT_SECONDS = 5.0  # for a lock that another program holds
CACHE_KIB = 16 * 1024
LOG_PAGES = (
    4000  # of 4096 bytes: length of the write-ahead log at which it is brought into the file
)
LOG_BYTES = 16 << 20  # what it is cut to then
EMPTY = 1  # id of the text ""
_PRIMARY = 0xFF  # part of an error code that is not an extension of it
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_OUTSIDE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
}

TABLES = """
CREATE TABLE text (id INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE, used INTEGER NOT NULL);
CREATE INDEX text_used ON text (used);
CREATE TABLE action (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL, instance INTEGER NOT NULL,
    program INTEGER NOT NULL, target INTEGER NOT NULL, mnemonic INTEGER NOT NULL,
    input_root BLOB, seconds REAL NOT NULL, pin INTEGER, used INTEGER NOT NULL,
    executed INTEGER NOT NULL, audited INTEGER NOT NULL DEFAULT 0, UNIQUE (digest, instance));
CREATE INDEX action_target ON action (target);
CREATE INDEX action_used ON action (used);
CREATE INDEX action_executed ON action (executed) WHERE executed > 0;
CREATE INDEX action_audited ON action (audited) WHERE audited > 0;
CREATE TABLE outcome (
    id INTEGER PRIMARY KEY, action INTEGER NOT NULL, hash BLOB NOT NULL,
    streams TEXT NOT NULL, UNIQUE (action, hash));
CREATE TABLE output (
    outcome INTEGER NOT NULL, path TEXT NOT NULL, kind TEXT NOT NULL, digest BLOB,
    other TEXT NOT NULL,
    PRIMARY KEY (outcome, path)) WITHOUT ROWID;
CREATE TABLE made (
    outcome INTEGER NOT NULL, link INTEGER NOT NULL, PRIMARY KEY (outcome, link)) WITHOUT ROWID;
CREATE INDEX made_link ON made (link);
CREATE TABLE consumed (
    action INTEGER NOT NULL, link INTEGER NOT NULL, PRIMARY KEY (action, link)) WITHOUT ROWID;
CREATE INDEX consumed_link ON consumed (link);
CREATE TABLE observation (
    id INTEGER PRIMARY KEY, action INTEGER NOT NULL, outcome INTEGER NOT NULL, at REAL NOT NULL,
    differs INTEGER NOT NULL, streams_only INTEGER NOT NULL, source INTEGER NOT NULL,
    verdict INTEGER NOT NULL, mode INTEGER NOT NULL, worker INTEGER NOT NULL,
    toolchain INTEGER NOT NULL, switches INTEGER NOT NULL, rules INTEGER NOT NULL,
    program INTEGER NOT NULL, version INTEGER NOT NULL, mnemonic INTEGER NOT NULL,
    target INTEGER NOT NULL, invocation INTEGER NOT NULL, tool INTEGER NOT NULL,
    root INTEGER NOT NULL, seconds REAL NOT NULL, exit_code INTEGER NOT NULL, begun REAL NOT NULL,
    ended REAL NOT NULL, saved_actions INTEGER NOT NULL DEFAULT 0,
    saved_seconds REAL NOT NULL DEFAULT 0);
CREATE INDEX observation_action ON observation (action, outcome);
CREATE INDEX observation_invocation ON observation (invocation, action);
CREATE INDEX observation_agreeing ON observation (at) WHERE differs = 0;
CREATE INDEX observation_differing ON observation (at) WHERE differs > 0;
CREATE TABLE rewritten (
    observation INTEGER NOT NULL, path TEXT NOT NULL, before BLOB, formats INTEGER NOT NULL,
    bytes INTEGER NOT NULL, PRIMARY KEY (observation, path)) WITHOUT ROWID;
CREATE TABLE difference (
    id INTEGER PRIMARY KEY, observation INTEGER NOT NULL, place TEXT NOT NULL,
    first TEXT NOT NULL, later TEXT NOT NULL, format INTEGER NOT NULL, part TEXT NOT NULL,
    ranges TEXT NOT NULL, first_text TEXT NOT NULL, later_text TEXT NOT NULL,
    cause INTEGER NOT NULL, evidence TEXT NOT NULL, latent INTEGER NOT NULL);
CREATE INDEX difference_observation ON difference (observation, cause);
CREATE TABLE diverged (
    observation INTEGER NOT NULL, link INTEGER NOT NULL, PRIMARY KEY (observation, link))
    WITHOUT ROWID;
CREATE TABLE credit (
    consumer INTEGER NOT NULL, origin INTEGER NOT NULL, conflict INTEGER NOT NULL,
    since REAL NOT NULL, distance INTEGER NOT NULL, open INTEGER NOT NULL,
    saved INTEGER NOT NULL, PRIMARY KEY (consumer, origin)) WITHOUT ROWID;
CREATE INDEX credit_origin ON credit (origin);
CREATE TABLE audit (
    id INTEGER PRIMARY KEY, action INTEGER NOT NULL, at REAL NOT NULL, differs INTEGER NOT NULL,
    runs INTEGER NOT NULL);
CREATE INDEX audit_action ON audit (action);
CREATE INDEX audit_at ON audit (at);
CREATE TABLE learned (
    program TEXT NOT NULL, format TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (program, format))
    WITHOUT ROWID;
CREATE TABLE counter (
    kind TEXT NOT NULL, labels TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (kind, labels))
    WITHOUT ROWID;
INSERT INTO text VALUES (1, '', 9223372036854775807);
"""


class NotALedger(RuntimeError):
    """A file that SQLite can read, and that has not the ledger's tables of this format."""


def is_damage(error: Exception) -> bool:
    """Tell whether the file itself is at fault, so that another is to be begun."""
    code = getattr(error, "sqlite_errorcode", 0)
    return isinstance(error, NotALedger) or code & _PRIMARY in _DAMAGED


def is_outside(error: Exception) -> bool:
    """Tell whether the disk or another program is at fault, so that it may pass."""
    code = getattr(error, "sqlite_errorcode", 0)
    return isinstance(error, OSError) or code & _PRIMARY in _OUTSIDE


def connect(path: Path) -> sqlite3.Connection:
    """Open the file for its one writer; make it, and its folder, if it is not there.

    Raises OSError, sqlite3.Error, NotALedger.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection) -> None:
    """Bring a connection into the state that everything here counts on.

    connection: with isolation_level None. Raises sqlite3.Error, NotALedger.
    """
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # works on a new file alone
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    there = _tables(connection)
    if version == 0 and not there:
        connection.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;")
    elif version != FORMAT:
        raise NotALedger(f"it has format {version}, and this version writes {FORMAT}")
    elif missing := _expected() - there:
        raise NotALedger(f"it has no table {', '.join(sorted(missing))}")


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}


def _expected() -> set[str]:
    return {line.split()[2] for line in TABLES.splitlines() if line.startswith("CREATE ")}


def set_aside(path: Path) -> Path:
    """Move a damaged file away, in place of the last one that was; return where it is now."""
    aside = path.with_name(f"{path.name}.damaged")
    for end in ("-wal", "-shm"):
        aside.with_name(aside.name + end).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    path.rename(aside)
    return aside
