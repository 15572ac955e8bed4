from __future__ import annotations

import pytest

from assets.addresses import is_public
from assets.fault import OriginRefused
from assets.origins import InvalidOrigin, InvalidUri, Origin, Origins, Place, Reach


@pytest.mark.parametrize(
    ("line", "uri"),
    [
        ("https://github.com/**", "https://github.com/a/b.tar.gz?x=1"),
        ("https://github.com/**", "https://GitHub.com:443/"),
        ("https://github.com/*/releases/**", "https://github.com/a/releases/b/c"),
        ("https://*.example.com/**", "https://a.b.example.com/x"),
        ("http://10.0.0.5:8080/**", "http://10.0.0.5:8080/x"),
        ("http://[::1]:80/**", "http://[0:0::1]/x"),
        ("https://*/pub/*.zip", "https://anything/pub/a.zip"),
        ("file:///srv/assets/**", "file:///srv/assets/a/b"),
        ("https://h/a%20b".replace("%20", " "), "https://h/a%20b"),
    ],
)
def test_a_line_covers(line: str, uri: str) -> None:
    assert Origin.parse(line).covers(Place.parse(uri))


@pytest.mark.parametrize(
    ("line", "uri"),
    [
        ("https://github.com/**", "http://github.com/a"),
        ("https://github.com/**", "https://github.com:8443/a"),
        ("https://github.com/**", "https://github.com.evil.example/a"),
        ("https://github.com/**", "https://evil.example/github.com/a"),
        ("https://github.com/org/**", "https://github.com/organisation/a"),
        ("https://github.com/org/**", "https://github.com/org"),
        ("https://github.com/*/x", "https://github.com/a/b/x"),
        ("https://*.example.com/**", "https://example.com/x"),
        ("https://*.example.com/**", "https://badexample.com/x"),
        ("https://h/a", "https://h/a/b"),
        ("https://h/a.c", "https://h/abc"),
        ("file:///srv/assets/**", "file:///srv/assets2/a"),
        ("http://127.0.0.1/**", "file:///x"),
    ],
)
def test_a_line_does_not_cover(line: str, uri: str) -> None:
    assert not Origin.parse(line).covers(Place.parse(uri))


@pytest.mark.parametrize(
    "line",
    [
        "github.com", "https://github.com", "ftp://h/**", "file://host/x/**", "file:///**",
        "https://h/**/x", "https://h/../**", "https://UPPER/**", "https://a b/**", "https:///x",
        "https://h:port/**", "https://u@h/**", "https://a*b/**",
    ],
)  # fmt: skip
def test_lines_of_another_form_are_refused(line: str) -> None:
    with pytest.raises(InvalidOrigin):
        Origin.parse(line)


@pytest.mark.parametrize(
    "uri",
    [
        "https://user:word@h/x", "https://h/a/../b", "https://h/%2e%2E/b", "https://h/a%2Fb",
        "https://h/a%5cb", "https://h/a\\b", "https://h/%00", "http:///x", "file://host/x",
        "http://h:99999/", "http://u:word@h:99999/", "http://[::1/", "file:x/srv/a", "file:",
        "http://[.:1]:80/a", "http://[h:1]/a",
    ],
)  # fmt: skip
def test_uris_that_can_be_understood_in_two_ways_are_refused(uri: str) -> None:
    with pytest.raises(InvalidUri) as caught:
        Place.parse(uri)
    assert "word" not in str(caught.value)


def test_only_what_is_listed_as_private_may_have_any_address() -> None:
    origins = Origins.parse(["https://h/**"], ["https://mirror/**"])
    assert origins.reach(Place.parse("https://h/x")) is Reach.PUBLIC
    assert origins.reach(Place.parse("https://mirror/x")) is Reach.ANY
    with pytest.raises(OriginRefused):
        origins.reach(Place.parse("https://other/x"))
    assert not Origins()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0",
        "fc00::1", "ff02::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1",
        "2002:7f00:1::", "2001:0:1::", "name",
    ],
)  # fmt: skip
def test_addresses_that_are_not_of_the_public_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)
