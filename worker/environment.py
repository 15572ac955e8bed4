"""The variables of an action that its Command does not set."""

from __future__ import annotations

from collections.abc import Mapping

from re_config.schema import Prevention

LOCALE = ("LANG", "LANGUAGE", "LC_")  # the last: whatever begins so


def whole(
    prevent: Prevention,
    given: Mapping[str, str],
    *,
    home: str,
    own: Mapping[str, str],
    varied: Mapping[str, str],
) -> dict[str, str]:
    """Return all variables of an action.

    given: the Command's own, which always stay. home: an empty folder of this run's.
    own: the worker's variables. varied: what replaces those that are set here; "" leaves one unset.
    """
    added = _fixed(prevent, home)
    switches = ((prevent.locale, LOCALE), (prevent.time_zone, ("TZ",)))
    for on, names in switches:
        if not on:
            added |= {name: value for name, value in own.items() if name.startswith(names)}
    added = {name: value for name, value in (added | dict(varied)).items() if value}
    if any(name.startswith(LOCALE) for name in given):
        # LC_ALL would win over the Command's LANG.
        added = {name: value for name, value in added.items() if not name.startswith(LOCALE)}
    return added | dict(given)


def _fixed(prevent: Prevention, home: str) -> dict[str, str]:
    switches = (
        # Not C.UTF-8: it is not on every host, and sorts the same.
        (prevent.locale, "LC_ALL", "C"),
        (prevent.time_zone, "TZ", "UTC"),
        (prevent.home, "HOME", home),
        (prevent.epoch, "SOURCE_DATE_EPOCH", str(prevent.epoch_seconds)),
        (prevent.hash_seed, "PYTHONHASHSEED", "0"),
        (prevent.archive_dates, "ZERO_AR_DATE", "1"),
    )
    return {name: value for on, name, value in switches if on}
