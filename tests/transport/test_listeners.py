"""Where the door may stand, and TLS on it."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
import trio

from trio_broker.config.config import ListenConfig
from trio_broker.errors import ConfigError, NoBroker
from trio_broker.testing.clients.user import open_user
from trio_broker.testing.clients.websocket_peer import parse_response, read_all
from trio_broker.testing.in_process.websocket import open_web_rig
from trio_broker.transport.connect import connect_websocket as dialled
from trio_broker.transport.listeners import open_listeners, url_of

LIMIT = 60


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate for 127.0.0.1 that nobody signed, and its key; beside them files that will not do."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl in PATH")
    place = tmp_path_factory.mktemp("tls")
    cert, key = str(place / "cert.pem"), str(place / "key.pem")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=broker"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert]
    subprocess.run(["openssl", *words.split(), *names], check=True, capture_output=True)
    for more in (
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out other.pem",
        "pkey -in key.pem -aes256 -passout pass:secret -out locked.pem",
    ):
        subprocess.run(["openssl", *more.split()], check=True, capture_output=True, cwd=place)
    (place / "words.pem").write_text("none")
    return cert, key


async def test_over_tls_all_is_as_without(pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    cert, key = pair
    with trio.fail_after(LIMIT):
        async with open_web_rig(tls_cert=cert, tls_key=key) as web:
            assert web.url.startswith("wss://127.0.0.1:")
            with pytest.raises(NoBroker, match=r"TLS failed: .* is trusted when SSL_CERT_FILE names a copy"):
                async with dialled(web.url, web.token):
                    pytest.fail("it trusts anybody")
            monkeypatch.setenv("SSL_CERT_FILE", "/no/cert.pem")
            with pytest.raises(NoBroker, match=r"SSL_CERT_FILE names /no/cert\.pem, which can't be read"):
                async with dialled(web.url, web.token):
                    pytest.fail("it trusts anybody")
            monkeypatch.setenv("SSL_CERT_FILE", cert)
            async with dialled(web.url, web.token) as link, open_user(link) as user:
                session = await user.open("a")
                assert await user.prompt(session, f"say {'x' * 300_000}; say hello") == "end_turn"
                assert user.said(session).endswith("xhello")
            tls = ssl.create_default_context(cafile=cert)
            async with trio.SSLStream(
                await web.dial(), tls, server_hostname="127.0.0.1", https_compatible=True
            ) as stream:
                await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert parse_response(await read_all(stream)).body == "ok\n"


async def test_who_speaks_no_tls_there_is_let_go_and_no_harm_done(pair: tuple[str, str]) -> None:
    cert, key = pair
    with trio.fail_after(LIMIT):
        async with open_web_rig(tls_cert=cert, tls_key=key) as web, web.rig.connect() as owner:
            async with await web.dial() as stream:
                await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"HTTP" not in await read_all(stream)
            with pytest.raises(NoBroker, match="whether it is ws or wss"):
                async with dialled(web.url.replace("wss", "ws"), web.token):
                    pytest.fail("it got in")
            assert (await owner.status())["clients"] == 1


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "broker.lan:0"])
async def test_other_machines_are_let_in_over_tls_or_when_that_is_said(
    address: str, pair: tuple[str, str]
) -> None:
    with trio.fail_after(LIMIT):
        with pytest.raises(ConfigError, match=r"insecure_bind = true \(--insecure-bind\)"):
            await open_listeners(ListenConfig(websocket=address))
        if address != "0.0.0.0:0":
            return
        for listen in (
            ListenConfig(websocket=address, insecure_bind=True),
            ListenConfig(websocket=address, tls_cert=pair[0], tls_key=pair[1]),
        ):
            listeners = await open_listeners(listen)
            assert url_of(listeners).partition(":")[0] == ("ws" if listen.tls_cert is None else "wss")
            for one in listeners:
                await one.aclose()


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "127.8.9.1:0"])
async def test_this_machine_needs_no_tls(address: str) -> None:
    with trio.fail_after(LIMIT):
        for one in await open_listeners(ListenConfig(websocket=address)):
            await one.aclose()
        assert await open_listeners(ListenConfig()) == []


@pytest.mark.parametrize("address", ["", "8765", ":8765", "127.0.0.1", "127.0.0.1:x", "::1:8765", "h:99999"])
async def test_what_is_no_address_is_told(address: str) -> None:
    with trio.fail_after(LIMIT), pytest.raises(ConfigError, match="is no HOST:PORT"):
        await open_listeners(ListenConfig(websocket=address))


async def test_a_port_that_is_taken_and_a_key_without_certificate_are_told() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web:
            with pytest.raises(ConfigError, match="can't be bound"):
                await open_listeners(ListenConfig(websocket=f"127.0.0.1:{web.port}"))
        with pytest.raises(ConfigError, match="tls_cert is missing"):
            await open_listeners(ListenConfig(websocket="127.0.0.1:0", tls_key="x"))


@pytest.mark.parametrize(
    ("cert", "key", "told"),
    [
        ("none.pem", "key.pem", "tls_cert: .*none.pem can't be read: No such file"),
        ("cert.pem", "none.pem", "tls_key: .*none.pem can't be read: No such file"),
        ("cert.pem", None, "cert.pem can't be used alone: .*set tls_key if"),
        ("key.pem", "cert.pem", "the first wants a certificate, the second its key"),
        ("words.pem", "key.pem", "the first wants a certificate, the second its key"),
        ("cert.pem", "other.pem", "other.pem is not the key of the certificate .*cert.pem; name the two"),
        ("cert.pem", "locked.pem", "the key has a passphrase, .*openssl pkey"),
    ],
)
async def test_what_is_wrong_with_a_certificate_or_its_key_is_told(
    cert: str, key: str | None, told: str, pair: tuple[str, str]
) -> None:
    place = Path(pair[0]).parent
    listen = ListenConfig(
        websocket="127.0.0.1:0", tls_cert=str(place / cert), tls_key=key and str(place / key)
    )
    with trio.fail_after(LIMIT), pytest.raises(ConfigError, match=told):
        await open_listeners(listen)
