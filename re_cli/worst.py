"""The list of what differs, as people read it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from protos import admin_pb2 as admin
from re_cli.differences import SHORT_DIGITS, WIDE, counted, seconds_text, show, visible

STREAMS = "stdout/stderr"
_FIGURES = ("conflicts", "latent", "saved actions", "saved time")
# What is said of a group beside its figures: of an action or a target, what it is; of others, how
# many actions it has.
_WORDS = {
    "action": ("action", "mnemonic", "program", "target"),
    "target": ("target", "actions", "mnemonic", "program"),
    "program": ("program", "actions"),
    "mnemonic": ("mnemonic", "actions"),
    "cause": ("cause", "actions"),
}


def worst(listed: admin.ListNondeterminismResponse, by: str, console: Console) -> None:
    """Print `listed`, grouped `by` action, program, target, cause or mnemonic."""
    parts: list[RenderableType] = []
    if listed.groups:
        table = _table(listed.groups, by)
        needed = Measurement.get(console, console.options.update(max_width=WIDE), table).maximum
        narrow = needed > console.width
        parts += [_lines(group, by) for group in listed.groups] if narrow else [table]
        if any(group.streams_only for group in listed.groups):
            only = f"{STREAMS}: only these differ, the outputs are the same"
            parts.append(Text(only, style="dim"))
        parts.append("")
    show(console, *parts, _totals(listed))


def _table(groups: Iterable[admin.Nondeterminism], by: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in _FIGURES:
        table.add_column(name, justify="right", no_wrap=True)
    causes = () if by == "cause" else ("causes",)
    for name in ("differs in", *causes, *_WORDS[by]):
        table.add_column(name, no_wrap=True)
    for group in groups:
        said = [_words(group, by)[name] for name in (*causes, *_WORDS[by])]
        texts = (Text(visible(each)) for each in said)  # no markup: clients name these
        table.add_row(*_figures(group), _place(group), *texts)
    return table


def _figures(group: admin.Nondeterminism) -> list[str]:
    return [
        f"{group.conflicts:,}",
        f"{group.latent:,}",
        f"{group.saved_actions:,}",
        seconds_text(group.saved_seconds) if group.saved_seconds else "-",
    ]


def _place(group: admin.Nondeterminism) -> str:
    return STREAMS if group.streams_only else "outputs"


def _words(group: admin.Nondeterminism, by: str) -> dict[str, str]:
    """Return what is known of a group by the name of its column."""
    words = {
        "action": group.action_digest.hash[:SHORT_DIGITS],
        "causes": ", ".join(group.causes) or "not known yet",
        "mnemonic": group.mnemonic or "-",
        "program": group.program or "-",
        "target": group.target or "-",
        "actions": f"{group.actions:,}",
    }
    return words if by == "action" else words | {by: group.name or "not told"}


def _lines(group: admin.Nondeterminism, by: str) -> Text:
    """Write one group for a narrow window: its name, then what there is to say of it."""
    words = _words(group, by)
    name, *others = _WORDS[by]
    words["actions"] = counted(group.actions, "action")
    said = [words[each] for each in others]
    saved = f"saved {counted(group.saved_actions, 'action')}"
    if group.saved_seconds:
        saved += f", {seconds_text(group.saved_seconds)}"
    facts = [
        f"{counted(group.conflicts, 'conflict')}, {group.latent:,} latent; {saved}",
        " ".join(each for each in said if each != "-"),
        f"{_place(group)}: {words['causes']}" if by != "cause" else _place(group),
    ]
    text = Text(visible(words[name]), style="bold")
    for fact in facts:
        if fact:
            text.append(f"\n    {visible(fact)}", style="not bold")
    return text


def _totals(listed: admin.ListNondeterminismResponse) -> str:
    seen = f"{counted(listed.observations, 'result')} of {counted(listed.actions, 'action')}"
    covered = f"{counted(listed.audited_actions, 'action')} audited"
    if listed.actions:
        covered += f" ({100 * listed.audited_actions / listed.actions:.1f} %)"
    if not listed.groups:
        return f"no result has differed: {seen} seen, {covered}"
    return (
        f"{seen} seen: {counted(listed.conflicts, 'conflict')}, {listed.latent:,} latent; {covered}"
    )
