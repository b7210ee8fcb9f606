"""A node behind TLS with a certificate of a private authority: trusted where that is named, and by it alone."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ledger.sources.wukongim.answers import Unanswered
from ledger.sources.wukongim.exchange import Answer, Exchange, _private
from tests.support.query_api import VARZ, listening

TLS = Path(__file__).parents[1] / "fixtures" / "tls"
UNTRUSTED = Unanswered("no TLS connection: handshake failed or certificate not trusted")


@asynccontextmanager
async def behind_tls() -> AsyncIterator[str]:
    """A node that answers over TLS -> its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "node.pem")
    async with listening(VARZ, tls=context) as node:
        yield node.url


async def ask(url: str, ca_file: Path | None) -> Answer | Unanswered:
    exchange = Exchange(url, None, 2.0, ca_file=ca_file)
    try:
        return await exchange.ask("GET", "/varz", most_bytes=1000)
    finally:
        await exchange.close()


def test_a_private_authority_is_trusted_where_it_is_named() -> None:
    async def test() -> None:
        async with behind_tls() as url:
            assert isinstance(await ask(url, TLS / "authority.pem"), Answer)
            assert isinstance(await ask(url.replace("127.0.0.1", "localhost"), TLS / "authority.pem"), Answer)
            assert await ask(url, None) == UNTRUSTED

    asyncio.run(test())


def test_no_other_authority_is_trusted_beside_it() -> None:
    context = _private(TLS / "authority.pem")
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    (known,) = context.get_ca_certs()
    assert known["subject"] == ((("commonName", "Presence ledger test authority"),),)


def test_a_file_that_went_away_is_said_by_every_question(tmp_path: Path) -> None:
    expected = Unanswered("the certificates of api_ca_file cannot be read")
    assert asyncio.run(ask("https://127.0.0.1:1", tmp_path / "gone.pem")) == expected
