"""A client program of a scene: requests, urllib3, redis-py or psycopg, used as a real program uses or misuses them.

`client.py WANT`: WANT is a JSON object with `library`, `does`, `address`, `port`, and what that takes. Says "ready".
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

KEPT: list[Any] = []
WANT: dict[str, Any] = {}


def url(path: str = "/") -> str:
    return f"http://{WANT['address']}:{WANT['port']}{path}"


def again_and_again(rate: float, work: Callable[[], None]) -> None:
    """Do it so often a second, for ever; what fails is tried again."""
    print("ready", flush=True)
    due = time.monotonic()
    while True:
        try:
            work()
        except Exception as e:
            print(repr(e)[:200], file=sys.stderr, flush=True)
        due += random.expovariate(rate)
        time.sleep(max(0.0, due - time.monotonic()))


def at_once(n: int, work: Callable[[], object]) -> None:
    """Do it in n threads at the same time, so that a pool opens n connections."""
    meet, threads = threading.Barrier(n), []
    for _ in range(n):

        def one() -> None:
            meet.wait()
            work()

        threads.append(threading.Thread(target=one, daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join(20)


def in_use(n: int, every_s: float, work: Callable[[], object]) -> None:
    """n threads that use a pool, each now and then."""

    def loop() -> None:
        while True:
            try:
                work()
            except Exception as e:
                print(repr(e)[:200], file=sys.stderr, flush=True)
            time.sleep(random.expovariate(1 / every_s))

    for _ in range(n):
        threading.Thread(target=loop, daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


def idle() -> None:
    print("ready", flush=True)
    threading.Event().wait()


def use_requests() -> None:
    import requests
    from requests.adapters import HTTPAdapter

    n = WANT.get("count", 1)
    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=max(n, 10), pool_connections=10))
    match WANT["does"]:
        case "leak":
            # stream=True and no close(): the connection never goes back to the pool.
            again_and_again(WANT["rate"], lambda: KEPT.append(session.get(url(), stream=True, timeout=5)))
        case "pool":
            in_use(n, WANT["every_s"], lambda: session.get(url(), timeout=5).content)
        case "idle":
            at_once(n, lambda: session.get(url("/slow"), timeout=5).content)
            idle()
        case "each-new":
            # Without a session: the client closes, and keeps the TIME_WAIT.
            again_and_again(WANT["rate"], lambda: requests.get(url(), timeout=5).close())
        case "gives-up":
            again_and_again(
                WANT["rate"], lambda: threading.Thread(target=give_up, args=(requests,), daemon=True).start()
            )
        case "reads-slowly":
            for _ in range(n):
                KEPT.append(session.get(url("/large"), stream=True, timeout=5))
                KEPT[-1].raw.read(1000)
            idle()


def give_up(requests: Any) -> None:
    try:
        requests.get(url(), timeout=0.3)
    except requests.RequestException:
        return


def use_urllib3() -> None:
    import urllib3

    manager = urllib3.PoolManager(maxsize=10)
    again_and_again(WANT["rate"], lambda: KEPT.append(manager.request("GET", url(), preload_content=False)))


def use_redis() -> None:
    import redis

    n = WANT.get("count", 1)
    pool = redis.ConnectionPool(host=WANT["address"], port=WANT["port"], max_connections=100_000)
    client = redis.Redis(connection_pool=pool)
    match WANT["does"]:
        case "leak":

            def taken() -> None:
                one = pool.get_connection()
                one.send_command("PING")
                one.read_response()
                KEPT.append(one)

            again_and_again(WANT["rate"], taken)
        case "pool":
            in_use(n, WANT["every_s"], lambda: client.set("key", "x" * 100))
        case "idle":
            held = [pool.get_connection() for _ in range(n)]
            for one in held:
                one.send_command("PING")
                one.read_response()
                pool.release(one)
            idle()
        case "told":
            held = [pool.get_connection() for _ in range(n)]
            print("ready", flush=True)
            sys.stdin.readline()
            for one in held:
                one.send_command("SET", "key", "y" * 1000)
                if WANT.get("close"):
                    one.disconnect()
            threading.Event().wait()


def use_psycopg() -> None:
    import psycopg
    from psycopg_pool import ConnectionPool

    where = f"host={WANT['address']} port={WANT['port']} user=postgres dbname=postgres"
    n = WANT.get("count", 1)

    def ask(connection: Any) -> None:
        connection.execute("select 1").fetchall()

    match WANT["does"]:
        case "leak":

            def taken() -> None:
                one = psycopg.connect(where, autocommit=True)
                ask(one)
                KEPT.append(one)

            again_and_again(WANT["rate"], taken)
        case "pool":
            pool = ConnectionPool(where, min_size=n, max_size=n, kwargs={"autocommit": True}, open=True)
            pool.wait(20)

            def used() -> None:
                with pool.connection() as one:
                    ask(one)

            in_use(n, WANT["every_s"], used)
        case "idle":
            KEPT.append(ConnectionPool(where, min_size=n, max_size=n, kwargs={"autocommit": True}, open=True))
            KEPT[0].wait(20)
            idle()


if __name__ == "__main__":
    WANT.update(json.loads(sys.argv[1]))
    {"requests": use_requests, "urllib3": use_urllib3, "redis": use_redis, "psycopg": use_psycopg}[WANT["library"]]()
