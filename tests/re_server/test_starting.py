"""A server that cannot start says so in one line, with the setting that is the way out."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.protocol.blobs import unique
from tests.protocol.peer import connected
from tests.serving import HOLDFAST, START_SECONDS, Served, config_text, serving

FAILED, USAGE = 1, 2


def refusal(config: Path, *arguments: str) -> tuple[int, str]:
    """Start a server that is not to start; return its exit status and what it says."""
    ended = subprocess.run(
        [HOLDFAST, "serve", "--json", "--config", config, *arguments],
        capture_output=True, text=True, timeout=START_SECONDS, check=False,
    )  # fmt: skip
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stderr.strip().splitlines()[-1]


def config_in(folder: Path, settings: str = "", *, listen: str = "127.0.0.1:0") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "holdfast.toml"
    config.write_text(config_text(folder, settings, listen=listen))
    return config


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("first"), "worker.enabled = false") as server:
        yield server


def works(server: Served) -> bool:
    with connected(server.grpc) as peer:
        data = unique()
        return peer.read(peer.put_one(data)) == data


def test_a_port_in_use_is_told_with_the_setting_that_names_it(
    served: Served, tmp_path: Path
) -> None:
    status, said = refusal(config_in(tmp_path, listen=served.grpc))
    assert status == FAILED
    assert "server.listen" in said
    assert served.grpc in said
    assert works(served)


def test_a_web_port_in_use_is_told_with_the_setting_that_names_it(
    served: Served, tmp_path: Path
) -> None:
    status, said = refusal(config_in(tmp_path), "--web", served.web)
    assert status == FAILED
    assert "server.web" in said
    assert served.web in said


def test_a_store_in_use_is_told_with_its_folder(served: Served, tmp_path: Path) -> None:
    folder = served.log.parent
    config = tmp_path / "holdfast.toml"
    config.write_text(config_text(folder, "", listen="127.0.0.1:0"))
    status, said = refusal(config)
    assert status == FAILED
    assert f"store.path {folder}/store is in use by another process" in said
    assert works(served)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"])
@pytest.mark.parametrize("option", ["--listen", "--web"])
def test_to_listen_beyond_loopback_is_refused_with_the_setting_that_allows_it(
    tmp_path: Path, listen: str, option: str
) -> None:
    status, said = refusal(config_in(tmp_path), option, listen)
    assert status == USAGE
    assert "allow_insecure_listen" in said
    assert f"server.{option.removeprefix('--')}" in said


def test_whoever_allows_it_listens_beyond_loopback(tmp_path: Path) -> None:
    settings = "server.allow_insecure_listen = true\nworker.enabled = false"
    with serving(tmp_path, settings, listen="0.0.0.0:0") as server:
        port = server.grpc.rpartition(":")[2]
        with connected(f"127.0.0.1:{port}") as peer:
            assert peer.has(peer.digest(b""))


BAD = {
    "a field that there is not": ("store.max_byte = 1", "max_byte"),
    "a value of another type": ('server.drain_seconds = "long"', "server.drain_seconds"),
    "a value out of bounds": ("execution.max_queued = 0", "execution.max_queued"),
    "no TOML": ("server listen", "TOML"),
    "a kind that there is not": ('worker.sandbox.kind = "jail"', "worker.sandbox"),
    "a field of an instance": ('[instances."a/b"]\nx = 1', "instances"),
    "an address without a port": ('server.listen = "localhost"', "server.listen"),
}


@pytest.mark.parametrize(("settings", "named"), BAD.values(), ids=BAD.keys())
def test_a_fault_in_the_configuration_is_told_with_file_and_field(
    tmp_path: Path, settings: str, named: str
) -> None:
    config = tmp_path / "holdfast.toml"
    config.write_text(settings)
    status, said = refusal(config)
    assert status == USAGE
    assert str(config) in said
    assert named in said


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    status, said = refusal(tmp_path / "absent.toml")
    assert status == USAGE
    assert "absent.toml" in said


def test_a_sandbox_that_cannot_be_used_is_told_with_the_setting(tmp_path: Path) -> None:
    settings = 'worker.sandbox.kind = "bubblewrap"\nworker.sandbox.program = "/no/such/bwrap"'
    status, said = refusal(config_in(tmp_path, settings))
    assert status == FAILED
    assert "/no/such/bwrap" in said
    assert "sandbox" in said


def test_a_store_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    (tmp_path / "store").write_text("not a folder")
    status, said = refusal(config)
    assert status == FAILED
    assert f"store.path {tmp_path}/store" in said


@contextmanager
def closed_after_use(folder: Path) -> Iterator[None]:
    with serving(folder, "worker.enabled = false") as server:
        assert works(server)
        yield
        assert server.stop() == 0


def test_a_start_that_failed_leaves_the_store_as_it_was(served: Served, tmp_path: Path) -> None:
    with closed_after_use(tmp_path):
        pass
    assert refusal(config_in(tmp_path, listen=served.grpc))[0] == FAILED
    with closed_after_use(tmp_path):
        pass
    assert "discarded" not in (tmp_path / "holdfast.log").read_text()
