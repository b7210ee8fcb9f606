"""What does forwarding add to a business server's 200, and does a business server that hangs delay presence?"""

import asyncio
import time
from collections.abc import Sequence

from bench import _client, _service
from bench._postgres import server
from bench._report import Bar, Options, Report, main, median, number, percentile, progress
from ledger.simulator.business_server import BusinessServer, serving

MESSAGE = b'[{"message_id":1234567890,"from_uid":"u1","channel_id":"g1","payload":"' + b"x" * 400 + b'"}]'
HANGING = 32
"""Messages under way at a business server that answers none of them: no version of WuKongIM sends so many at once."""


def measure(options: Options) -> Report:
    """Rounds in turn, one request after another: straight to the business server, and through the service."""
    rounds, requests = options.pick(9, 2), options.pick(1000, 50)
    with server(options) as postgres, serving() as business, postgres.database() as url:
        settings = f'forward_url = "{business.url}"'
        with _service.running(postgres.folder / "service", url, source=settings) as service:
            straight = _client.post("/v1/webhook?event=msg.notify", MESSAGE)
            through = _client.post(f"/hooks/main/n1/{_service.SECRET}?event=msg.notify", MESSAGE)
            port = int(business.url.rpartition(":")[2].partition("/")[0])
            added: list[tuple[float, float]] = []
            for _ in range(rounds + 1):
                direct = median(_client.run(_one_after_another(port, [straight] * requests)))
                forwarded = median(_client.run(_one_after_another(service.port, [through] * requests)))
                progress(f"{direct * 1000:.2f} ms straight, {forwarded * 1000:.2f} ms through the service")
                added.append((direct, forwarded))
            presence = [service.webhook(b'["u%d-0-1-1-1-1"]' % number) for number in range(requests)]
            alone, alongside, refused = _client.run(_alongside_hanging(service, business, presence, through))
        described = postgres.describe()
    added = added[1:]
    report = Report(
        f"A message of {len(MESSAGE)} bytes to a business server on this machine, one after another, medians of "
        f"{rounds} rounds of {requests}; then {requests} presence webhooks, alone and while {HANGING} messages hang",
        described,
        ("", "median, ms", "p99, ms"),
    )
    for name, took in (("presence alone", alone), ("presence while messages hang", alongside)):
        report.rows.append((name, number(median(took) * 1000), number(percentile(took, 0.99) * 1000)))
    report.rows.insert(0, ("straight to the business server", number(median([d for d, _ in added]) * 1000), ""))
    report.rows.insert(1, ("through the service", number(median([f for _, f in added]) * 1000), ""))
    more = median([forwarded - direct for direct, forwarded in added]) * 1000
    report.bars.append(Bar("added at the median", more, 1000 if options.short else 2, at_least=False, unit="ms"))
    longer = percentile(alongside, 0.99) / percentile(alone, 0.99)
    report.bars.append(Bar("presence's p99, of that alone", longer, 100 if options.short else 1.5, at_least=False))
    report.bars.append(Bar("messages told 504 in time", refused, HANGING, at_least=True))
    return report


async def _one_after_another(port: int, requests: Sequence[bytes]) -> list[float]:
    """The seconds that each took. Raises RuntimeError at an answer other than 200."""
    connection = await _client.connect(port)
    took = []
    for request in requests:
        started = time.perf_counter()
        answer = await connection.exchange(request)
        took.append(time.perf_counter() - started)
        if answer.status != 200:
            raise RuntimeError(f"answered {answer.status}: {answer.body[:500]!r}")
    connection.close()
    return took


async def _alongside_hanging(
    service: _service.Service, business: BusinessServer, presence: Sequence[bytes], message: bytes
) -> tuple[list[float], list[float], int]:
    """-> (seconds of presence alone, the same while messages hang, how many of those were answered 504)"""
    half = len(presence) // 2
    alone = await _one_after_another(service.port, presence[:half])
    business.delay_seconds = 60.0
    connections = [await _client.connect(service.port) for _ in range(HANGING)]
    hanging = [asyncio.ensure_future(connection.exchange(message)) for connection in connections]
    alongside = await _one_after_another(service.port, presence[half:])
    answers = await asyncio.gather(*hanging)
    return alone, alongside, sum(answer.status == 504 for answer in answers)


if __name__ == "__main__":
    main("forwarding", "performance.md", measure)
