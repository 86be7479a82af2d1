"""Programs that run in a pod beside Redis, in the keeper's image: one is a client under load, one watches the cluster.

Each prints a line of JSON twice a second until its standard input is closed.
"""

LOAD = """
import json, sys, threading, time
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

# The second is not one of the first; the last is what ASK for a node that joined after its last look makes of redis-py.
FAULTS = (RedisError, RedisClusterException, OSError, AttributeError)
host, prefix = sys.argv[1:3]
TLS = "/etc/lighthouse/redis-tls/"
def password():
    return open("/etc/lighthouse/redis-users/bridge").read().splitlines()[0]
def connect():
    return RedisCluster(
        host=host, port=6379, username="bridge", password=password(), ssl=True,
        ssl_ca_certs=TLS + "ca.crt", ssl_certfile=TLS + "tls.crt", ssl_keyfile=TLS + "tls.key", socket_timeout=1, socket_connect_timeout=1,
        retry=Retry(NoBackoff(), 1),
    )
closed = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), closed.set()), daemon=True).start()
client, written, errors, done, shown = None, {}, {}, 0, 0.0
n = 0
while not closed.is_set():
    n += 1
    key = f"lighthouse:{prefix}:{n}"
    try:
        client = client or connect()
        client.set(key, str(n), ex=1800)
        written[key] = str(n)
        done += 1
    except FAULTS as error:
        errors[type(error).__name__] = errors.get(type(error).__name__, 0) + 1
        if isinstance(error, AttributeError):
            client = None  # it looks again
    if time.time() - shown >= 0.5:
        shown = time.time()
        print(json.dumps({"t": shown, "done": done, "errors": errors}), flush=True)
        done, errors = 0, {}
    time.sleep(0.03)
lost = None
for attempt in range(60):
    try:
        client = client or connect()
        lost = [key for key, value in written.items() if client.get(key) != value.encode()]
        break
    except FAULTS:
        time.sleep(1)
print(json.dumps({"t": time.time(), "written": len(written), "lost": None if lost is None else len(lost)}), flush=True)
"""

WATCH = """
import json, sys, threading, time
from pathlib import Path
import structlog
from lighthouse_redis_keeper.keeper import Nodes
from lighthouse_redis_keeper.planner import Situation, Target, has_shape, is_whole
from lighthouse_redis_keeper.settings import Access

# What is printed is the answer alone.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
name, domain, primaries, replicas = sys.argv[1:5]
access = Access(
    users=Path("/etc/lighthouse/redis-users"), tls=Path("/etc/lighthouse/redis-tls"), seconds=1.0
)
nodes = Nodes(lambda pod: f"{name}-{pod}.{domain}", access)
target = Target(int(primaries), int(replicas))
closed = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), closed.set()), daemon=True).start()
while not closed.is_set():
    views = nodes.observe(target.size)
    situation = Situation(target, views)
    held = {pod: len(slots) for pod, slots in situation.held.items() if slots}
    # One that joins knows of no slot yet, and no client asks it.
    agreed = bool(views) and all(view.whole for view in views.values() if view.me.slots or view.me.primary)
    follows = {p: situation.pod_of.get(v.me.primary) for p, v in views.items() if v.me.primary}
    print(json.dumps({
        "t": time.time(), "pods": sorted(views), "slots": sum(held.values()) if agreed else 0, "held": held,
        "whole": is_whole(situation) and has_shape(situation), "follows": follows, "places": {p: v.place for p, v in views.items()},
        "ids": {p: v.me.id for p, v in views.items()},
    }), flush=True)
    time.sleep(0.3)
"""
