"""Values of hot users in a Redis, and their changes: its keys and its scripts.

A value is written only over an older one of the same epoch, or over one of another epoch. Which epoch holds stands in a
key of its own, that only whoever has read it from the ledger may write: so the last request of a leader that has been
deposed, which may come at any time, neither puts an older value over a newer one nor one of a ledger that is gone.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from ledger.domain.instants import to_text
from ledger.sinks.kind import ChangeOrder
from ledger.sinks.redis_errors import Unusable, in_words

T = TypeVar("T")

SOCKET_SECONDS = 5.0
CONNECT_SECONDS = 2.0
PIPELINED = 500
"""Values in one exchange."""
SCANNED = 1_000
"""Keys in one exchange."""

MAX_CHANGES = 100_000
"""The stream has so many at least, if not much more: some 70 MB."""

_CLAIMED = """
local claimed = redis.call('GET', KEYS[1])
if not claimed then return 'lost' end
if claimed ~= ARGV[1] then return 'other' end
local function is_older(than)
  if not than then return false end
  local ok, was = pcall(cjson.decode, than)
  if not ok or type(was) ~= 'table' then return false end
  if was.as_of then was = was.as_of end
  if type(was) ~= 'table' or was.epoch ~= ARGV[1] then return false end
  local position = tonumber(was.position)
  if not position or type(was.at) ~= 'string' then return false end
  if position ~= tonumber(ARGV[2]) then return position > tonumber(ARGV[2]) end
  return was.at > ARGV[3]
end
"""
"""Of what is to be written: by its epoch, position and instant, the first three arguments."""

_PUT = (
    _CLAIMED
    + """
local change = ARGV[6]
local there = redis.call('GET', KEYS[2])
if ARGV[9] == '1' and not there then
  change = ''
elseif is_older(there) then
  change = change ~= '' and there or ''
elseif ARGV[5] == '' then
  redis.call('SET', KEYS[2], ARGV[4])
else
  local expires = tonumber(ARGV[5])
  if ARGV[8] == '1' then
    local rest = redis.call('PTTL', KEYS[2])
    if rest > 0 and rest < expires then expires = rest end
  end
  redis.call('SET', KEYS[2], ARGV[4], 'PX', expires)
end
if change == '' then return 'ok' end
redis.call('PUBLISH', KEYS[3], change)
local added = redis.pcall('XADD', KEYS[3], 'MAXLEN', '~', ARGV[7], '*', 'presence', change)
if type(added) == 'table' and added.err then return 'no stream' end
return 'ok'
"""
)
"""Whoever reads the changes is never told an older one after a newer: in its place, they are told what is there."""

_PUT_HEAD = (
    _CLAIMED
    + """
if not is_older(redis.call('GET', KEYS[2])) then redis.call('SET', KEYS[2], ARGV[4]) end
return 'ok'
"""
)

Written = Literal["ok", "lost", "other", "no stream"]
"""`lost`: what was there is gone. `other`: another epoch holds. `no stream`: written, but this Redis has no streams."""


class Value(NamedTuple):
    """What is to be written of a user: the presence, the change that it is, and after how many seconds it goes away."""

    uid: str
    presence: bytes
    order: ChangeOrder
    expires_seconds: float | None
    change: bytes = b""
    expires_no_later: bool = False
    """Whether a value that is there goes away when it would have."""
    only_over_another: bool = False
    """Whether nothing is written where no value is there: who was erased is not to come back by a late one."""


class _AsOf(msgspec.Struct):
    position: int
    at: str
    epoch: str


class _Stored(msgspec.Struct):
    as_of: _AsOf


class _Named(msgspec.Struct):
    uid: str


_decode_named = msgspec.json.Decoder(_Named).decode
_encode = msgspec.json.Encoder().encode
_decode_stored = msgspec.json.Decoder(_Stored).decode
_decode_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def without_previous(body: bytes) -> bytes:
    """A presence as `GET` answers it, of one that is told as a change."""
    parts = _decode_parts(body)
    if parts.pop("previous", None) is None:
        return body
    return _encode(parts)


class HotValues:
    """One Redis, at an address with whatever password it holds; `prefix` is what each key begins with.

    Everything that is asked of it raises Unusable.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._redis = _client(url)
        self._prefix = prefix.encode()
        self._scripts: dict[str, str] = {}

    def key(self, name: str) -> bytes:
        """The key of that name."""
        return self._prefix + name.encode()

    async def close(self) -> None:
        """Give the connections up."""
        await self._redis.aclose()

    async def run_id(self) -> str:
        """Which run of a server it is: another one may have lost what this one was told. Empty where it says none."""
        info = await _asked(lambda: self._redis.info("server"))
        return str(info.get("run_id", ""))

    async def claim(self, epoch: str) -> None:
        """From now on this epoch holds: only for whoever has just read it from the ledger."""
        await _asked(lambda: self._redis.set(self.key("epoch"), epoch))

    async def put(self, values: Sequence[Value]) -> Written:
        """Write values, and tell of those that are changes -> how it went, with the first that did not go well."""
        outcome: Written = "ok"
        for start in range(0, len(values), PIPELINED):
            part = values[start : start + PIPELINED]
            written = await self._run(_PUT, [self._put(each) for each in part])
            outcome = next((each for each in [outcome, *written] if each != "ok"), "ok")
            if outcome in ("lost", "other"):
                return outcome
        return outcome

    async def put_head(self, order: ChangeOrder) -> Written:
        """Up to here the values are right."""
        keys = [self.key("epoch"), self.key("head")]
        head = _encode({"position": order.position, "at": to_text(order.at), "epoch": order.epoch})
        [written] = await self._run(_PUT_HEAD, [(keys, [*_ordered(order), head])])
        return written

    async def forget(self, changes: Mapping[str, bytes]) -> None:
        """Remove these users' values and every change of theirs from the stream; who listens is told the change."""
        channel = self.key("changes")
        for uid, change in changes.items():
            await _asked(partial(self._redis.delete, self.key("presence:" + uid)))
            await _asked(partial(self._redis.publish, channel, change))
        after = "-"
        while page := await _asked(partial(self._redis.xrange, channel, after, "+", SCANNED)):
            named = [number for number, fields in page if _uid_of(fields) in changes]
            if named:
                await _asked(partial(self._redis.xdel, channel, *named))
            after = "(" + page[-1][0].decode()

    async def older_than(self, order: ChangeOrder | None) -> AsyncIterator[list[str]]:
        """The users of whom there is a value that was not written since an order, or of whom there is one at all."""
        start = self.key("presence:")
        pattern = _escaped(start) + b"*"
        cursor = 0
        while True:
            cursor, keys = await _asked(partial(self._redis.scan, cursor, match=pattern, count=SCANNED))
            values = await _asked(partial(self._redis.mget, keys)) if keys else []
            old = [
                key[len(start) :].decode()
                for key, value in zip(keys, values, strict=True)
                if value is not None and _is_older(value, order)
            ]
            if old:
                yield old
            if cursor == 0:
                return

    def _put(self, value: Value) -> tuple[list[bytes], list[Any]]:
        keys = [self.key("epoch"), self.key("presence:" + value.uid), self.key("changes")]
        expires = "" if value.expires_seconds is None else max(1, round(value.expires_seconds * 1000))
        return keys, [
            *_ordered(value.order),
            value.presence,
            expires,
            value.change,
            MAX_CHANGES,
            int(value.expires_no_later),
            int(value.only_over_another),
        ]

    async def _run(self, script: str, calls: Sequence[tuple[list[bytes], list[Any]]]) -> list[Written]:
        """What a script says to each of several calls, which may be made again."""
        for attempt in (1, 2):
            if script not in self._scripts:
                self._scripts[script] = await _asked(lambda: self._redis.script_load(script))
            pipe = self._redis.pipeline(transaction=False)
            for keys, arguments in calls:
                pipe.evalsha(self._scripts[script], len(keys), *keys, *arguments)
            answers = await _asked(partial(pipe.execute, raise_on_error=False))
            failed = next((each for each in answers if isinstance(each, Exception)), None)
            if failed is None:
                return [each.decode() for each in answers]
            if not isinstance(failed, NoScriptError) or attempt > 1:
                raise in_words(failed) from failed
            # Redis has forgotten it, with a restart or a flush.
            del self._scripts[script]
        raise AssertionError


def _uid_of(fields: Mapping[bytes, bytes]) -> str | None:
    """Whom a change in the stream is of; None: it is none of ours."""
    try:
        return _decode_named(fields.get(b"presence", b"")).uid
    except msgspec.DecodeError:
        return None


def _client(url: str) -> Redis:
    """What an address has in its query, the library may not take: then it is one that nobody can connect to."""
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        # Whoever asks tries again, and knows what.
        "retry": Retry(NoBackoff(), 0),
    }
    try:
        return Redis.from_url(url, **options)
    except ValueError:
        return Redis(connection_pool=_NoPool())


class _NoPool(ConnectionPool):
    """Of an address that cannot be used."""

    async def get_connection(self, *_: Any, **__: Any) -> Any:
        raise Unusable("the address of this Redis cannot be used")


async def _asked(ask: Callable[[], Awaitable[T]]) -> T:
    try:
        return await ask()
    except (RedisError, OSError, TimeoutError) as error:
        raise in_words(error) from error


def _ordered(order: ChangeOrder) -> list[Any]:
    return [order.epoch, order.position, to_text(order.at)]


def _is_older(value: bytes, order: ChangeOrder | None) -> bool:
    if order is None:
        return True
    try:
        as_of = _decode_stored(value).as_of
    except msgspec.DecodeError:
        return True
    return as_of.epoch != order.epoch or (as_of.position, as_of.at) < (order.position, to_text(order.at))


def _escaped(key: bytes) -> bytes:
    r"""The same as a glob: `[`, `]`, `*`, `?` and `\` mean themselves."""
    return b"".join(b"\\" + bytes([each]) if each in b"[]*?\\" else bytes([each]) for each in key)
