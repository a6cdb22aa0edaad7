"""Binding the addresses that `[listen]` names, with TLS or without."""

from __future__ import annotations

import ipaddress
import os
import ssl

import trio

from trio_broker.config.config import ListenConfig, host_and_port
from trio_broker.errors import ConfigError

Listener = trio.SocketListener | trio.SSLListener[trio.SocketStream]


async def open_listeners(config: ListenConfig) -> list[Listener]:
    """Bind what `[listen]` says, nothing if it says nothing. Raises ConfigError."""
    if config.websocket is None:
        return []
    host, port = parse_address(config.websocket)
    tls = tls_context(config)
    try:
        plain = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise ConfigError(f"[listen] websocket: {config.websocket} can't be bound: {error}") from error
    return [trio.SSLListener(one, tls, https_compatible=True) for one in plain] if tls else [*plain]


def tls_context(config: ListenConfig) -> ssl.SSLContext | None:
    """TLS as `[listen]` wants it. Raises ConfigError if its files can't be used, or if it must be and is not there."""
    tls = _tls(config)
    host = parse_address(config.websocket)[0] if config.websocket is not None else "localhost"
    if tls is None and not config.insecure_bind and not _is_loopback(host):
        raise ConfigError(
            f"[listen] websocket: {host} can be reached from other machines, and without TLS anybody on the way reads "
            "the tokens; set tls_cert and tls_key, or insecure_bind = true (--insecure-bind) if something else "
            "protects them"
        )
    return tls


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[IPV6]:PORT`; port 0 is any that is free. Raises ConfigError."""
    try:
        return host_and_port(text)
    except ValueError as error:
        raise ConfigError(f"[listen] websocket: {error}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(config: ListenConfig) -> ssl.SSLContext | None:
    if config.tls_cert is None and config.tls_key is None:
        return None
    if config.tls_cert is None:
        raise ConfigError("[listen] tls_key is there, and tls_cert is missing")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    cert = _readable("tls_cert", config.tls_cert)
    key = _readable("tls_key", config.tls_key) if config.tls_key is not None else None
    try:
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except ssl.SSLError as error:
        raise ConfigError(f"[listen] tls_cert, tls_key: {_key_pair_error(config, error)}") from error
    return context


def _readable(name: str, path: str) -> str:
    """The file's whole path. ssl tells neither which of its files is missing, nor what is wrong with a directory."""
    whole = os.path.expanduser(path)
    try:
        with open(whole, "rb") as file:
            file.read(1)
    except OSError as error:
        raise ConfigError(f"[listen] {name}: {path} can't be read: {error.strerror}") from error
    return whole


def _no_passphrase() -> str:
    """Instead of a question on the terminal, which a daemon has none of. Raises ConfigError."""
    raise ConfigError(
        "[listen] tls_cert, tls_key: the key has a passphrase, and nobody is there to type it; give a key without one "
        "(`openssl pkey -in KEY -out PLAIN` writes it), readable by nobody else"
    )


def _key_pair_error(config: ListenConfig, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        other = config.tls_key or "the key in the same file"
        return (
            f"{other} is not the key of the certificate {config.tls_cert}; name the two that belong together"
        )
    if config.tls_key is None:
        return (
            f"{config.tls_cert} can't be used alone: it wants a certificate and its key in PEM ({error}); "
            "set tls_key if the key is in a file of its own"
        )
    return (
        f"{config.tls_cert} and {config.tls_key} can't be used: the first wants a certificate, the second its key, "
        f"in PEM ({error})"
    )


def url_of(listeners: list[Listener]) -> str:
    """Where clients reach the first of them."""
    first = listeners[0]
    plain = first.transport_listener if isinstance(first, trio.SSLListener) else first
    assert isinstance(plain, trio.SocketListener)
    host, port = plain.socket.getsockname()[:2]
    scheme = "wss" if isinstance(first, trio.SSLListener) else "ws"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/acp"
