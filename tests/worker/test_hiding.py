"""Files of Holdfast's own that a sandbox would show."""

from __future__ import annotations

from pathlib import Path

import pytest

from re_config.hiding import with_own_files_hidden
from re_config.load import parse
from re_config.schema import Bubblewrap
from tests.worker.site import Setting, site
from worker.hiding import covers


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """A folder with a file that every user may read."""
    folder = tmp_path / "shown"
    folder.mkdir()
    (folder / "token").write_text("the secret")
    return folder


def showing(folder: Path, *hidden: Path) -> Setting:
    """Have actions see `folder`, but for `hidden`."""
    read_only = [*Bubblewrap().read_only, str(folder)]
    sandbox = {"kind": "bubblewrap", "read_only": read_only, "hidden": [*map(str, hidden)]}
    return Setting({"sandbox": sandbox})


async def test_hidden_files_and_folders_are_not_there(tmp_path: Path, shown: Path) -> None:
    for name, hidden in (("file", shown / "token"), ("folder", shown)):
        async with site(tmp_path / name, showing(shown, hidden)) as worker:
            result = await worker.shell(f"cat {shown}/token; echo x > {shown}/token")
            assert result.exit_code != 0
            assert await worker.stdout(result) == ""
    assert (shown / "token").read_text() == "the secret"


async def test_what_is_not_hidden_is_shown(tmp_path: Path, shown: Path) -> None:
    async with site(tmp_path / "worker", showing(shown)) as worker:
        result = await worker.shell(f"cat {shown}/token")
        assert await worker.stdout(result) == "the secret"


async def test_the_workers_own_folder_is_hidden_where_it_would_be_shown(shown: Path) -> None:
    async with site(shown / "worker", showing(shown)) as worker:
        result = await worker.shell(f"cat in; find {shown}/worker -type f", {"in": b"mine"})
        assert await worker.stdout(result) == "mine"


def test_a_hidden_path_is_covered_wherever_a_link_shows_it(tmp_path: Path) -> None:
    real = tmp_path / "real"
    (real / "below").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(real)
    covered = covers([str(link / "below")], [str(link), str(real), "/usr"])
    assert set(covered) == {str(link / "below"), str(real / "below")}


def test_what_nothing_shows_needs_no_cover(tmp_path: Path) -> None:
    assert covers([str(tmp_path), "/usr/not-there"], ["/usr"]) == {}


def test_what_a_server_has_of_its_own_is_hidden(tmp_path: Path) -> None:
    settings = {
        "store.kind": "disk",
        "store.path": f"{tmp_path}/s",
        "ledger.path": f"{tmp_path}/l",
        "server.tls.certificate": f"{tmp_path}/c",
        "server.tls.key": f"{tmp_path}/k",
        "access.tokens": f"{tmp_path}/t",
    }
    text = "\n".join(f'{name} = "{value}"' for name, value in settings.items())
    text += '\n[[access.grants]]\nwho = ["everyone"]\nrights = ["reader"]\n'
    config = with_own_files_hidden(parse(text, "text"), [tmp_path / "holdfast.toml"])
    assert isinstance(config.worker.sandbox, Bubblewrap)
    own = {str(tmp_path / name) for name in ("s", "l", "k", "t", "holdfast.toml")}
    assert own | {"/etc/holdfast"} <= set(config.worker.sandbox.hidden)
