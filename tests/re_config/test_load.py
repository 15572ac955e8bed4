from __future__ import annotations

from pathlib import Path

import pytest

from action_cache.mode import Mode
from cas.digest import DigestFunction
from re_config.load import InvalidConfig, expanded, load, parse
from re_config.schema import Config, NoSandbox
from re_config.toml import to_toml


def complaint(text: str) -> str:
    with pytest.raises(InvalidConfig) as caught:
        parse(text, "holdfast.toml")
    return str(caught.value)


def test_no_file_and_an_empty_file_are_the_defaults() -> None:
    assert load(None) == parse("", "holdfast.toml") == Config()


def test_a_file_is_read_and_home_is_expanded_where_paths_are_opened(tmp_path: Path) -> None:
    file = tmp_path / "holdfast.toml"
    file.write_text('store.path = "~/store"\n[instances."a/b"]\ndigest_function = "blake3"\n')
    config = load(file)
    assert config.instances["a/b"].digest_function is DigestFunction.BLAKE3
    assert expanded(config.store.path) == Path.home() / "store"


def test_what_is_written_as_toml_loads_to_the_same() -> None:
    text = (
        'worker.sandbox.kind = "none"\nworker.name = "a\\"b\\u007f\\n"\n'
        'worker.platform = { "OS Family" = ["linux", "x"], pool = "big" }\n'
        'store.high_water = 0.5\nstore.low_water = 0.25\n[instances.""]\ndeterminism = "strict"\n'
    )
    config = parse(text, "first")
    assert config.instances[""].determinism is Mode.STRICT
    assert config.worker.sandbox == NoSandbox()
    assert parse(to_toml(config), "second") == config
    assert parse(to_toml(Config()), "third") == Config()


def test_values_of_the_command_line_win_and_are_checked_too(tmp_path: Path) -> None:
    file = tmp_path / "holdfast.toml"
    file.write_text('server.listen = "127.0.0.1:1"\n')
    given = {"listen": "127.0.0.1:0"}
    assert load(file, server=given).server.listen == load(None, server=given).server.listen
    with pytest.raises(InvalidConfig, match="allow_insecure_listen"):
        load(file, server={"listen": "0.0.0.0:0"})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"absent\.toml: No such file"):
        load(tmp_path / "absent.toml")
    (tmp_path / "latin").write_bytes(b"# \xff")
    with pytest.raises(InvalidConfig, match="not UTF-8"):
        load(tmp_path / "latin")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("store.max_bytes = 0", "Expected `int` >= 1 - at `$.store.max_bytes`"),
        ("store = { max_bytes = 1.5 }", "got `float` - at `$.store.max_bytes`; it is: integer > 0"),
        ("store.max_byts = 1", "`$.store`; did you mean `max_bytes`?"),
        ("store.colour = 1", "`$.store`; it may have: kind, path, max_bytes, high_water"),
        ("nonsense = 1", "unknown field `nonsense`; it may have: server, store, instances"),
        ('store.kind = "s3"', '`$.store.kind`; `kind` is "disk"'),
        ("worker.sandbox = {}", '`kind` is "bubblewrap" or "none"'),
        ('worker.sandbox = { kind = "none", program = "x" }', "it is a field of another `kind`"),
        ('store.durability = "x"', '`$.store.durability`; it is: "fsync" or "process"'),
        (
            'default.determinism = "x"',
            '`$.default.determinism`; it is: "off" or "observe" or "pin"',
        ),
        ('[instances.a]\ndeterminsm = "x"', "did you mean `determinism`?"),
        ("worker.platform.x = [1]", "`$.worker.platform[...][0]`; it is: string"),
        ('server.listen = "here"', "`$.server.listen`; it is: HOST:PORT"),
        (
            "chunking.fast_cdc.average_bytes = 1000",
            "`$.chunking.fast_cdc.average_bytes`; it is: 1024 or 2048 or 4096 or",
        ),
        ("chunking.rep_max_cdc.min_bytes = 63", "Expected `int` >= 64"),
        ("server = 3", "`$.server`; it is: table"),
        ("[store\n", "holdfast.toml: not TOML: "),
        ("a = 1\nb = \n", "at line 2, column"),
    ],
)
def test_an_error_names_the_place_and_what_is_allowed(text: str, told: str) -> None:
    message = complaint(text)
    assert message.startswith("holdfast.toml: ")
    assert told in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("store.low_water = 0.95", "`$.store.low_water` is 0.95: it must be less than"),
        ("store.index_bytes = 67108864", "`$.store.index_bytes` is 67108864"),
        ('store.path = "/x"\nworker.path = "/x"', "`$.worker.path` is /x, which `$.store.path`"),
        ("server.max_batch_bytes = 67108864", "at most `max_message_bytes` less 1048576"),
        ("server.max_inline_bytes = 4000000", "`$.server.max_inline_bytes` is 4000000"),
        ("execution.max_timeout_seconds = 60", "`$.execution.default_timeout_seconds` is 3600"),
        ('server.listen = "127.0.0.1:99999"', "a port is at most 65535"),
        ('server.web = "127.0.0.1:8980"', "which `$.server.listen` takes already"),
        ('[instances."a/blobs"]', '`$.instances` has the name "a/blobs"'),
        ("default.confirmations = 1", "`$.default.confirmations` is 1: a result that nobody"),
        ('[instances."a//b"]', '`$.instances` has the name "a//b"'),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(text: str, told: str) -> None:
    assert told in complaint(text)


@pytest.mark.parametrize("field", ["listen", "web"])
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.168.1.1", "build.example"])
def test_an_address_beyond_loopback_needs_the_setting_that_allows_it(field: str, host: str) -> None:
    message = complaint(f'server.{field} = "{host}:1"')
    assert "nothing is encrypted" in message
    assert "no caller is checked" in message
    assert "`server.allow_insecure_listen = true`" in message
    parse(f'server.{field} = "{host}:1"\nserver.allow_insecure_listen = true', "allowed")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost"])
def test_loopback_needs_no_setting(host: str) -> None:
    assert parse(f'server.listen = "{host}:0"', "loopback").server.listen == f"{host}:0"


def test_inline_bytes_of_zero_need_no_large_index() -> None:
    parse("store.index_bytes = 67108864\nstore.inline_bytes = 0", "small")
    parse("store.index_bytes = 67108864\nstore.max_bytes = 1000000", "small")


def test_origins_of_another_form_are_refused_with_the_form() -> None:
    assert "`$.assets.allow`" in complaint('assets.allow = ["github.com/**"]')
    assert "SCHEME://HOST" in complaint('assets.allow_private = ["github.com"]')
    assert "assets.default_timeout_seconds" in complaint("assets.max_timeout_seconds = 5")


ISSUED = '[access.jwt]\nkeys = "k"\nissuer = "i"\naudiences = ["a"]\n'
READERS = '[[access.grants]]\nwho = ["everyone"]\nrights = ["reader"]\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('access.tokens = "t"', "`$.access` has no grants, so that nobody may do anything"),
        ('server.tls.certificate = "c"', "`$.server.tls.key` is empty"),
        ('server.tls.client_ca = "c"', "`$.server.tls.client_ca` needs"),
        (f'access.client_certificates = "dns"\n{READERS}', "set `server.tls.client_ca`"),
        ('[access.jwt]\nkeys = "k"\naudiences = ["a"]', "`$.access.jwt.issuer` is empty"),
        ('[access.jwt]\nkeys = "k"\nissuer = "i"', "`$.access.jwt.audiences` is empty"),
        ('[access.jwt]\nissuer = "i"', "has no effect without `keys`"),
        (ISSUED.replace('"k"', '"http://x"') + READERS, "use https://"),
        (ISSUED + 'algorithms = ["HS256"]', "$.access.jwt.algorithms"),
        (ISSUED + 'algorithms = ["none"]', "$.access.jwt.algorithms"),
        (ISSUED + "algorithms = []", "`$.access.jwt.algorithms` is empty"),
        (READERS.replace("everyone", "alice"), "`user:NAME`"),
        (READERS.replace("everyone", "user:alice"), "set `access.jwt.keys`"),
        (READERS.replace("everyone", "token:alice"), "set `access.tokens`"),
        (READERS.replace("everyone", "certificate:a"), "set `access.client_certificates`"),
        (READERS.replace("reader", "writer"), '"cas_read"'),
        (READERS.replace('"reader"', ""), "$.access.grants"),
        (READERS.replace("everyone", "anonymous").replace("reader", "developer"), "told apart"),
        (READERS + 'instances = ["b"]\n[instances.a]', 'names the instance "b": there are "a"'),
    ],
)
def test_access_that_locks_out_or_lets_in_by_mistake_is_refused(text: str, told: str) -> None:
    assert told in complaint(text)


def test_beyond_loopback_both_encryption_and_access_control_are_needed() -> None:
    listen = 'server.listen = "0.0.0.0:1"\n'
    tls = 'server.tls = { certificate = "c", key = "k" }\n'
    assert "nothing is encrypted" in complaint(listen + READERS)
    assert "no caller is checked" not in complaint(listen + READERS)
    assert "no caller is checked" in complaint(listen + tls)
    config = parse(listen + tls + READERS, "both")
    assert parse(to_toml(config), "again") == config
