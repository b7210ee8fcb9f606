"""How many connections the system lets this process have, said where that is fewer than wanted."""

import resource

import structlog

log = structlog.get_logger()

RESERVED = 256
"""For the database, the nodes' query APIs, files."""


def room_for(connections: int) -> int:
    """How many connections there may be, of so many wanted; raises the soft bound on descriptors to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, connections + RESERVED)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    room = max(hard - RESERVED, hard // 2)
    if room < connections:
        log.warning(
            "few_file_descriptors",
            limit=hard,
            connections=room,
            wanted=connections,
            way_out=f"let the process open {connections + RESERVED} files (`ulimit -Hn`, `LimitNOFILE=` of systemd), "
            "or lower max_connections",
        )
    return min(room, connections)
