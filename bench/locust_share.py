"""Runs the real Locust bridge for some seconds, idle and under load; prints its processor time as JSON."""

import sys
import time

import gevent
import locust
import orjson
from locust.env import Environment

from natsproof.load.locust_bridge import Bridge
from natsproof.load.locust_settings import Settings
from natsproof.load.mix import Action

SECONDS = 5.0
RATE_HZ = 2000.0


def main() -> None:
    urls, bucket = sys.argv[1].split(","), sys.argv[2]
    environment = Environment(events=locust.events)
    environment.create_local_runner()
    mix = (Action(bucket, "put", 1.0, 128, 1000),)
    settings = Settings(urls=tuple(urls), mix=mix, rate_per_user_hz=RATE_HZ)
    bridge = Bridge(environment, settings)
    bridge.start()
    began_s = time.process_time()
    gevent.sleep(SECONDS)
    idle_s = time.process_time() - began_s
    began_s = time.process_time()
    bridge.add_user(bucket)
    gevent.sleep(SECONDS)
    bridge.remove_user(bucket)
    bridge.stop()
    used_s = time.process_time() - began_s
    told = {"cpu_s": used_s, "idle_cpu_s": idle_s, "operations": environment.stats.total.num_requests}
    print(orjson.dumps(told).decode())


if __name__ == "__main__":
    main()
