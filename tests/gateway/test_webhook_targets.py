"""Where webhooks may go: a corpus of the tricks by which one gets a server to call its own."""

import ipaddress

import pytest

from gateway.webhooks import targets
from gateway.webhooks.targets import PortRange, TargetRefusedError, TargetRules, Why

RULES = TargetRules()
OPEN_PORTS = TargetRules(("https", "http"), (PortRange(1, 65_535),))

TAKEN = {
    "https://shop.example.com": ("shop.example.com", 443, "/"),
    "https://shop.example.com/": ("shop.example.com", 443, "/"),
    "https://SHOP.example.com/a/b?c=d&e": ("shop.example.com", 443, "/a/b?c=d&e"),
    "https://shop.example.com?x=1": ("shop.example.com", 443, "/?x=1"),
    "https://shop.example.com:8443/x": ("shop.example.com", 8443, "/x"),
    "https://xn--bcher-kva.example.com/x": ("xn--bcher-kva.example.com", 443, "/x"),
    "https://8.8.8.8/x": ("8.8.8.8", 443, "/x"),
    "https://[2606:4700:4700::1111]/x": ("2606:4700:4700::1111", 443, "/x"),
    "https://1password.com/": ("1password.com", 443, "/"),
    "https://a.co/%2e%2e/x": ("a.co", 443, "/%2e%2e/x"),
}

REFUSED = {
    Why.URL: [
        "", "x", "//shop.example.com", "shop.example.com", "https:shop.example.com",
        "https:/shop.example.com", "https:///shop.example.com", "HTTPS://shop.example.com",
        "ftp://shop.example.com", "file:///etc/passwd", "gopher://127.0.0.1:6379/_INFO",
        "dict://127.0.0.1:11211/stat", "javascript:alert(1)", "data:text/plain,x",
        "unix:///var/run/docker.sock", "jar:https://a.com!/", "ldap://a.com",
        # user information, and what hides behind it
        "https://user@shop.example.com/", "https://user:pass@shop.example.com/",
        "https://shop.example.com@127.0.0.1/", "https://127.0.0.1@shop.example.com/",
        "https://shop.example.com:443@127.0.0.1/", "https://@127.0.0.1/",
        # fragments, back slashes, white space, control characters, line ends
        "https://shop.example.com/#@127.0.0.1/", "https://shop.example.com#@127.0.0.1",
        "https://shop.example.com\\@127.0.0.1/", "https:\\\\127.0.0.1\\", "https://a.com\\.b.com/",
        " https://shop.example.com", "https://shop.example.com ", "https://shop.example.com/ x",
        "https://shop.example.com\t/", "https://sh\nop.example.com/", "https://a.com/\r\nHost: b",
        "https://a.com/\x00", "https://a.com%00.b.com/", "https://a.com/\x7f",
        # characters that some parser folds into ASCII ones, and percent signs in the host
        "https://１２７.0.0.1/", "https://127。0。0。1/", "https://ⓛocalhost/",
        "https://127.0.0.1\u2044@a.com/", "https://bücher.example.com/", "https://ℓocalhost/",
        "https://%31%32%37.0.0.1/", "https://127.0.0.1%2f.a.com/", "https://local%68ost/",
        "https://exa\u00admple.com/", "https://a\u200b.com/",
        # ports that are none, brackets that don't close, zones
        "https://a.com:/", "https://a.com:0/", "https://a.com:0443/", "https://a.com:-1/",
        "https://a.com:4 43/", "https://a.com:443:443/", "https://a.com:x/", "https://[::1/",
        "https://::1/", "https://[fe80::1%25eth0]/", "https://[::1]x/", "https://[::ffff:1.2.3.4]]/",
        "https://[v1.x]/", "https://a_b.com/", "https://a.com/é",
    ],
    Why.SCHEME: ["http://shop.example.com/", "http://127.0.0.1/"],
    Why.PORT: [
        "https://a.com:22/", "https://a.com:25/", "https://a.com:80/", "https://a.com:6379/",
        "https://a.com:65535/", "https://a.com:99999/", "https://127.0.0.1:22/",
    ],
    Why.HOST: [
        # whatever inet_aton takes for an address
        "https://2130706433/", "https://0x7f000001/", "https://017700000001/", "https://0/",
        "https://127.1/", "https://127.0.1/", "https://0x7f.1/", "https://0x7f.0.0.1/",
        "https://0177.0.0.1/", "https://127.0.0.01/", "https://127.0.0.0x1/", "https://00.0.0.0/",
        "https://127.000.000.001/", "https://256.256.256.256/", "https://1.2.3.4.5/",
        "https://169.254.43518/", "https://0xa9fea9fe/", "https://2852039166/", "https://a.1/",
        "https://a.0x7f/", "https://999999999999/", "https://1e1.1/",
        # not a domain name
        "https://a..com/", "https://.a.com/", "https://a.com./", "https://127.0.0.1./",
        "https://-a.com/", "https://a-.com/", "https://a." + "b" * 64 + ".com/", "https://.../",
        "https://localhost./", "https://[:::]/", "https://[1::2::3]/", "https://[127.0.0.1]/",
        "https://[::127.0.0.1.2]/",
    ],
    Why.LOCAL_NAME: [
        "https://localhost/", "https://LOCALHOST/", "https://intranet/", "https://metadata/",
        "https://a.localhost/", "https://printer.local/", "https://db.internal/",
        "https://metadata.google.internal/", "https://nas.home.arpa/", "https://x.lan/",
        "https://x.corp/", "https://x.onion/", "https://kubernetes/",
    ],
    Why.ADDRESS: [
        "https://127.0.0.1/", "https://127.255.255.254/", "https://0.0.0.0/", "https://0.1.2.3/",
        "https://10.0.0.1/", "https://10.255.255.255/", "https://172.16.0.1/",
        "https://172.31.255.255/", "https://192.168.0.1/", "https://192.168.255.255/",
        "https://169.254.169.254/latest/meta-data/", "https://169.254.0.1/",
        "https://100.64.0.1/", "https://100.100.100.200/", "https://100.127.255.255/",
        "https://168.63.129.16/", "https://192.0.0.1/", "https://192.0.0.192/",
        "https://192.0.2.1/", "https://198.18.0.1/", "https://198.19.255.255/",
        "https://198.51.100.1/", "https://203.0.113.1/", "https://192.88.99.1/",
        "https://224.0.0.1/", "https://239.255.255.255/", "https://240.0.0.1/",
        "https://255.255.255.255/",
        "https://[::]/", "https://[::1]/", "https://[0:0:0:0:0:0:0:1]/", "https://[::0001]/",
        "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[::ffff:8.8.8.8]/",
        "https://[0:0:0:0:0:ffff:10.0.0.1]/", "https://[::127.0.0.1]/", "https://[::ffff:0:7f00:1]/",
        "https://[64:ff9b::127.0.0.1]/", "https://[64:ff9b::a00:1]/", "https://[64:ff9b::808:808]/",
        "https://[64:ff9b:1::a00:1]/", "https://[2002:7f00:1::]/", "https://[2002:a00:1::1]/",
        "https://[2001::1]/", "https://[2001:0:7f00:1::]/", "https://[2001:db8::1]/",
        "https://[3fff::1]/", "https://[fe80::1]/", "https://[febf::1]/", "https://[fec0::1]/",
        "https://[fc00::1]/", "https://[fd00:ec2::254]/", "https://[fdff::1]/",
        "https://[ff02::1]/", "https://[ff0e::1]/", "https://[100::1]/", "https://[5f00::1]/",
        "https://[4000::1]/", "https://[2606:4700::5efe:7f00:1]/",
        "https://[2606:4700::200:5efe:a00:1]/",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("url", "expected"), TAKEN.items())
def test_taken(url: str, expected: tuple[str, int, str]) -> None:
    target = targets.parse(url, RULES)
    assert (target.host, target.port, target.path) == expected


@pytest.mark.parametrize(
    ("url", "why"), [(url, why) for why, urls in REFUSED.items() for url in urls], ids=ascii
)
def test_refused(url: str, why: Why) -> None:
    with pytest.raises(TargetRefusedError) as refused:
        targets.parse(url, RULES)
    assert refused.value.why is why


def test_every_reason_is_reached() -> None:
    assert set(REFUSED) | {Why.UNRESOLVED} == set(Why)


@pytest.mark.parametrize("url", REFUSED[Why.ADDRESS] + REFUSED[Why.HOST] + REFUSED[Why.LOCAL_NAME])
def test_neither_open_ports_nor_http_open_networks(url: str) -> None:
    for text in (url, url.replace("https", "http")):
        with pytest.raises(TargetRefusedError):
            targets.parse(text, OPEN_PORTS)


# What a name may have for addresses: one that is refused refuses all.
@pytest.mark.parametrize(
    ("texts", "taken"),
    [
        (["8.8.8.8"], True),
        (["2606:4700:4700::1111", "8.8.8.8"], True),
        (["8.8.8.8", "127.0.0.1"], False),
        (["10.0.0.1"], False),
        (["::1"], False),
        (["::ffff:10.0.0.1"], False),
        (["64:ff9b::a00:1", "8.8.8.8"], False),
        (["fe80::1%eth0"], False),
        (["2606:4700:4700::1111%eth0"], False),
        (["not an address"], False),
        ([], False),
    ],
)
def test_every_address_of_a_name_is_checked(texts: list[str], taken: bool) -> None:
    if taken:
        assert [str(a) for a in targets.check_resolved(texts, RULES)] == texts
    else:
        with pytest.raises(TargetRefusedError):
            targets.check_resolved(texts, RULES)


def test_a_configured_network_is_taken_and_no_other() -> None:
    rules = TargetRules(
        ("https", "http"), (PortRange(9000, 9001),), (ipaddress.ip_network("127.0.0.0/8"),)
    )
    assert targets.parse("http://127.0.0.1:9000/x", rules).authority == "127.0.0.1:9000"
    assert targets.parse("https://localhost:9001/x", rules).host == "localhost"
    targets.check_resolved(["127.9.9.9"], rules)
    for url in ("https://10.0.0.1:9000/", "https://[::1]:9000/", "https://127.0.0.1:9002/",
                "https://[::ffff:127.0.0.1]:9000/", "https://2130706433:9000/"):  # fmt: skip
        with pytest.raises(TargetRefusedError):
            targets.parse(url, rules)
    with pytest.raises(TargetRefusedError):
        targets.check_resolved(["::1"], rules)


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://a.com/", "a.com"),
        ("https://a.com:443/", "a.com"),
        ("https://a.com:8443/", "a.com:8443"),
        ("https://[2606:4700:4700::1111]:8443/", "[2606:4700:4700::1111]:8443"),
    ],
)
def test_the_host_header(url: str, authority: str) -> None:
    assert targets.parse(url, RULES).authority == authority


def test_a_reason_names_no_address() -> None:
    for why in Why:
        assert not any(part.isdigit() for part in why.value.replace(":", " ").split())
