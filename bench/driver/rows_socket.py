"""Gets over the socket, beside Redis, memcached and an echo of the same bytes."""

from driver.machine import APART, FREE, SAME
from driver.measure import Load, Row
from driver.registry import row, size_name

SHAPES = [  # connections, pipeline, goal
    (1, 1, 1.0),
    (50, 1, 1.2),
    (50, 16, 1.2),
]
PINNINGS = {SAME: "same", APART: "apart", FREE: "unpinned"}


def contestants(world, value_bytes, pinning, **options):
    keys = world.scale.keys
    node = world.read_node(keys, value_bytes)
    servers = {"pgnear": node, "redis": world.redis("none", keys, value_bytes),
               "memcached": world.memcached(keys, value_bytes)}
    return {name: Load(world.home, name, server, pinning, keys=keys, value_bytes=value_bytes,
                       seconds=world.scale.seconds, **options)
            for name, server in servers.items()}


def register_get(connections, pipeline, goal, pinning, value_bytes):
    shape = f"{connections}x{pipeline}"

    @row(f"socket-get-{shape}-{PINNINGS[pinning]}-{size_name(value_bytes)}")
    def _(world):
        loads = contestants(world, value_bytes, pinning, connections=connections,
                            pipeline=pipeline)
        name = f"socket get, {connections} conn x {pipeline}, {pinning}, {size_name(value_bytes)}"
        return Row(name, "ops/s", loads.pop("pgnear"), loads, goal, pinning=pinning,
                   value_bytes=value_bytes)


def register_echo(connections, pipeline, pinning):
    @row(f"socket-get-echo-{connections}x{pipeline}-{PINNINGS[pinning]}")
    def _(world):
        value_bytes = 100
        own = contestants(world, value_bytes, pinning, connections=connections,
                          pipeline=pipeline)["pgnear"]
        echo = world.echo(value_bytes)
        reference = Load(world.home, "echo", echo, pinning, seconds=world.scale.seconds,
                         connections=connections, pipeline=pipeline,
                         echo_request_bytes=echo.request_bytes, echo_reply_bytes=echo.reply_bytes)
        name = f"socket get against a bare echo, {connections} conn x {pipeline}, {pinning}"
        return Row(name, "ops/s", own, {"echo": reference}, 0.7 if connections == 1 else None,
                   pinning=pinning, value_bytes=value_bytes)


for size in (100, 1024):
    for shape in SHAPES:
        for place in (SAME, APART):
            register_get(*shape, place, size)
for place in (SAME, APART):
    register_echo(1, 1, place)
    register_echo(50, 1, place)
