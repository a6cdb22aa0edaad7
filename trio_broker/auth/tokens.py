"""Tokens: how a client that is not the owner says who it is, and the Grant each of them carries.

The broker alone writes their file, whole and atomically. It holds no token, only digests; of a token's text nothing is
ever shown again, logged or kept in memory.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import attrs
import msgspec
import trio

from trio_broker.auth.grant import OWNER, Grant, Scope
from trio_broker.errors import Misuse, TokensError

log = logging.getLogger(__name__)

PREFIX = "tb_"  # so that people, and programs that look for leaked secrets, know what it is
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
MAX_LIFETIME = 100 * 365 * 86400.0  # seconds a token may live, so that every time can be written as a date
LAST_USED_PRECISION = 3600.0  # seconds: how coarse `last_used` is, for it costs a write
WRITE_INTERVAL = 60.0  # seconds between two such writes
CLOCK_CHECK_INTERVAL = (
    60.0  # seconds until the time of day is looked at again: it may be set, and the machine may sleep
)


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One token as the file has it; times are those of `time.time`."""

    name: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    scopes: frozenset[Scope]
    created: float
    sessions: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    expires: float | None = None
    last_used: float | None = None

    @property
    def grant(self) -> Grant:
        return Grant(self.name, self.scopes, self.sessions, self.roots, self.expires, self.sha256)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    tokens: list[Token]


@attrs.define(eq=False)
class Tokens:
    """The tokens of one broker. Without a `path` they live as long as it does."""

    path: Path | None = None
    now: Callable[[], float] = time.time
    _tokens: dict[str, Token] = attrs.field(factory=dict)
    _revoked: dict[str, trio.Event] = attrs.field(factory=dict)
    _unwritten: bool = False
    _writing: trio.Lock = attrs.field(factory=trio.Lock)

    @classmethod
    def open(cls, path: Path) -> Tokens:
        """Those of this file, none if there is no file. Blocks. Raises TokensError: unreadable, damaged, not safe."""
        return cls(path, tokens={token.name: token for token in _read(path)})

    def check(self, secret: str) -> Grant | None:
        """What the bearer of `secret` may do; None if it is no token, or not any more.

        Every digest is compared, whole, so the time it takes tells nothing.
        """
        digest, found = digest_of(secret), None
        for token in self._tokens.values():
            if hmac.compare_digest(token.sha256, digest):
                found = token
        if found is None or self._expired(found):
            return None
        self._note_use(found)
        return found.grant

    def _expired(self, token: Token) -> bool:
        return token.expires is not None and token.expires <= self.now()

    def _note_use(self, token: Token) -> None:
        if token.last_used is None or not 0 <= self.now() - token.last_used < LAST_USED_PRECISION:
            self._tokens[token.name] = msgspec.structs.replace(token, last_used=self.now())
            self._unwritten = True

    async def wait_revoked(self, grant: Grant) -> str:
        """Wait until the token behind a grant is revoked or expires, and give the reason, to be told to its bearer.

        For ever, if there is no token behind it.
        """
        if grant.token is None:
            await trio.sleep_forever()
        while (why := self._revocation_reason(grant)) is None:
            left = (
                CLOCK_CHECK_INTERVAL
                if grant.expires is None
                else min(grant.expires - self.now(), CLOCK_CHECK_INTERVAL)
            )
            with trio.move_on_after(left):
                await self._revoked.setdefault(grant.token or "", trio.Event()).wait()
        return why

    def _revocation_reason(self, grant: Grant) -> str | None:
        token = self._tokens.get(grant.name)
        if token is None or token.sha256 != grant.token:
            return "the token was revoked"
        return "the token has expired" if self._expired(token) else None

    async def create(self, grant: Grant) -> str:
        """Make a token that carries this grant; the secret, which nobody can ask for again.

        It is on disk when this returns. Roots are resolved. Raises Misuse, and TokensError when it can't be written.
        """
        grant = attrs.evolve(grant, roots=tuple(map(real_root, grant.roots)))
        self._check(grant)
        secret = PREFIX + secrets.token_urlsafe(32)
        token = Token(
            grant.name,
            digest_of(secret),
            grant.scopes,
            self.now(),
            grant.sessions,
            grant.roots,
            grant.expires,
        )
        async with self._writing:
            if grant.name in self._tokens:
                raise Misuse(
                    f"there is a token {grant.name!r} already; choose another name, or end that one with "
                    f"`trio-broker token revoke {grant.name}`"
                )
            await self._write([*self._tokens.values(), token])
            self._tokens[grant.name] = token
        return secret

    def _check(self, grant: Grant) -> None:
        if not NAME.fullmatch(grant.name) or grant.name == OWNER.name:
            raise Misuse(
                f"{grant.name!r} can't be a token's name: up to 64 letters, digits and _ . @ -, beginning with a "
                f"letter or digit, and not {OWNER.name!r}"
            )
        if not grant.scopes:
            raise Misuse(
                f"a token needs a scope; choose from {', '.join(scope.value for scope in Scope)} (--scope)"
            )
        if grant.admin and (grant.sessions or grant.roots):
            raise Misuse(
                "an admin can make itself any token, so sessions and roots would not limit it; leave them out, or "
                "choose other scopes"
            )
        if not all(grant.sessions):
            raise Misuse("a glob of sessions is empty; write one such as 'discord:*'")
        if grant.expires is not None and not 0 < grant.expires - self.now() <= MAX_LIFETIME:
            raise Misuse(
                f"a token can't expire before it is made, nor later than in {MAX_LIFETIME:.0f} seconds"
            )

    async def revoke(self, name: str) -> None:
        """End a token: it is refused, and its connections are told to end, at once; the file follows.

        Raises Misuse if there is none of that name, and TokensError when the file can't be written.
        """
        async with self._writing:
            if (token := self._tokens.pop(name, None)) is None:
                raise Misuse(f"there is no token {name!r}; `trio-broker token list` shows all")
            self._revoked.pop(token.sha256, trio.Event()).set()
            await self._write([*self._tokens.values()])

    def list_tokens(self) -> list[dict[str, Any]]:
        """Every token as JSON values, by name; nothing of its text."""
        return [
            {
                "name": token.name,
                "scopes": [scope.value for scope in Scope if scope in token.scopes],
                "sessions": list(token.sessions),
                "roots": list(token.roots),
                "created": token.created,
                "expires": token.expires,
                "expired": self._expired(token),
                "lastUsed": token.last_used,
            }
            for _, token in sorted(self._tokens.items())
        ]

    async def run(self) -> None:
        """Write down what is not urgent, above all when tokens were last used, until cancelled."""
        while True:
            await trio.sleep(WRITE_INTERVAL)
            if self._unwritten:
                async with self._writing:
                    try:
                        await self._write([*self._tokens.values()])
                    except TokensError as error:
                        log.warning("tokens_not_written why=%s", error)

    async def _write(self, tokens: list[Token]) -> None:
        self._unwritten = False  # a use that is noted while the file is being written is not in it
        if self.path is not None:
            data = msgspec.json.encode(_File(1, sorted(tokens, key=lambda token: token.name)))
            with trio.CancelScope(shield=True):  # what has begun is not left in doubt by a client that leaves
                try:
                    await trio.to_thread.run_sync(_replace, self.path, msgspec.json.format(data) + b"\n")
                except TokensError:
                    self._unwritten = True
                    raise


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    # A plain SHA-256: slow and salted hashes are for secrets that can be guessed, and nobody guesses 256 random bits. A
    # check has to be cheap, since strangers may ask for as many as they like.
    return hashlib.sha256(secret.encode("utf-8", "backslashreplace")).hexdigest()


def real_root(root: str) -> str:
    """A root without symbolic links in it. Raises Misuse unless it is the absolute path of a directory."""
    if not os.path.isabs(root) or "\0" in root:
        raise Misuse(f"--root: {root!r} is no absolute path", root=root)
    real = os.path.realpath(root)
    if not os.path.isdir(real):
        raise Misuse(f"--root: there is no directory {root} on the broker's host", root=root)
    return real


def _read(path: Path) -> list[Token]:
    try:
        with path.open("rb") as file:
            found, data = os.fstat(file.fileno()), file.read()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TokensError(f"{path}: the tokens can't be read: {error}", file=str(path)) from error
    if found.st_uid not in (os.getuid(), 0) or stat.S_IMODE(found.st_mode) & 0o022:
        raise TokensError(
            f"{path}: others may write this file, and so make themselves tokens; see what is in it, then "
            f"`chmod 600` it",
            file=str(path),
        )
    try:
        tokens = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if tokens.version != 1:
        raise _damaged(path, f"its version is {tokens.version}, and this broker knows 1")
    for member in ("name", "sha256"):
        if len({getattr(token, member) for token in tokens.tokens}) < len(tokens.tokens):
            raise _damaged(path, f"two tokens have one {member}")
    return tokens.tokens


def _damaged(path: Path, why: str) -> TokensError:
    return TokensError(
        f"{path}: this is not the file of tokens that a broker wrote: {why}; mend it, or move it away: then no token "
        "is known, and `trio-broker token new` makes new ones",
        file=str(path),
    )


def _replace(path: Path, data: bytes) -> None:
    """The file is the old one or the new one, whole, wherever the power fails."""
    new = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.unlink(missing_ok=True)  # of one who died here
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(file, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(file)
        os.replace(new, path)
        _sync_directory(path.parent)
    except OSError as error:
        raise TokensError(
            f"{path}: the tokens can't be written: {error}; after a restart they are as they were",
            file=str(path),
        ) from error


def _sync_directory(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
