"""What the figures were measured on, and which core a process runs on."""

import os
import platform

APART = "apart"  # server and client on a core of their own
SAME = "same core"
FREE = "unpinned"


def describe():
    model = "unknown"
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo", encoding="ascii") as lines:
        memory_kib = int(next(line for line in lines if line.startswith("MemTotal")).split()[1])
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kib / 2**20, 1),
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def cores():
    """The cores that pinned servers and clients get: (server's, client's)."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def pin(pid, pinning):
    """Pins all threads of a server, or lets them go."""
    server, client = cores()
    wanted = set(os.sched_getaffinity(0)) if pinning == FREE else {server}
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            os.sched_setaffinity(int(thread), wanted)
        except ProcessLookupError:
            pass


def client_core(pinning):
    """The core for the client, or -1."""
    server, client = cores()
    return {APART: client, SAME: server, FREE: -1}[pinning]


def cpu_seconds(pid):
    """User and system time of a process so far, all threads together."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
