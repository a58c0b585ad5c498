# SPDX-License-Identifier: MIT
"""A large host: ten thousand processes in a thousand groups, each process in two of them."""
import os
import random
import resource
import time

import harness
from harness import MIB, read

PROCESSES = 9900
NAMES = 990
EACH = PROCESSES // NAMES


def tasks_left():
    """Of the limits on tasks, what the tightest one that is known leaves."""
    used = int(read("/proc/loadavg").split()[3].partition("/")[2])
    left = [int(read("/proc/sys/kernel/pid_max")) - used, int(read("/proc/sys/kernel/threads-max")) - used]
    user = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    left += [user - used] if user != resource.RLIM_INFINITY else []
    for line in read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/pids") if controllers in ("", "pids") else ():
            most, now = read(f"{mount}{path}/pids.max", "max").strip(), read(f"{mount}{path}/pids.current", "0")
            left += [int(most) - int(now)] if most != "max" else []
    return min(left)


def is_instrumented(pid):
    return "libasan" in read(f"/proc/{pid}/maps") or "libubsan" in read(f"/proc/{pid}/maps")


def test_ten_thousand_processes_in_a_thousand_groups(t):
    t.need(harness.SLOW == 1, "takes minutes where the processor is emulated")
    t.need(harness.meminfo()["MemAvailable"] > 3072 * MIB, "needs 3 GiB of memory for the processes' kernel stacks and page tables")
    t.need(tasks_left() > PROCESSES + 1000, f"only {tasks_left()} more tasks are allowed here")
    before = set(filter(str.isdigit, os.listdir("/proc")))
    sleepers = t.workload("sleepers", PROCESSES, NAMES)
    pids = {}
    for pid in harness.children(sleepers.pid):
        pids.setdefault(read(f"/proc/{pid}/comm").strip(), []).append(pid)
    t.equal((len(pids), {len(x) for x in pids.values()}), (NAMES, {EACH}), "names, and processes of each")

    # s0 to s989 by their names, and all whose names end alike
    config = "[Daemon]\nSampleInterval=1s\nScanInterval=3s\nExactInterval=24h\nCPUBudget=50%\n"
    config += "".join(f"[Group one{i}]\nComm=s{i}\nCap=100%\n" for i in range(NAMES))
    config += "".join(f"[Group all{i}]\nComm=s*{i} s{i}\nCap=100%\n" for i in range(10))
    d = t.daemon(config)

    def complete():
        groups = d.groups()
        return len(groups) == NAMES + 10 and groups if all(
            g["quality"] == "exact" and g["state"] == "ok" and g["processes"] > 0 for g in groups.values()) else None
    groups = t.wait(complete, "all groups to be counted")
    t.equal({groups[f"one{i}"]["processes"] for i in range(NAMES)}, {EACH}, "processes of each small group")
    t.equal({groups[f"all{i}"]["processes"] for i in range(10)}, {PROCESSES // 10}, "processes of each large group")

    rng = random.Random(6)
    for i in rng.sample(range(NAMES), 5):
        members = pids[f"s{i}"]
        counted, g = t.measure(*members), groups[f"one{i}"]
        # programs come and go, and with them what else maps the workload's few pages of code
        t.near(g["resident"], counted["resident"], 16 * harness.PAGE, f"resident of one{i}")
        t.near(g["rss_sum"], sum(harness.vm(pid)["VmRSS"] for pid in members), harness.rss_error(*members), f"rss_sum of one{i}")
        t.check(g["resident"] < g["rss_sum"], f"the processes of one{i} share nothing")

    cpu, first, began = harness.cpu_seconds(d.pid), d.tick(), time.monotonic()
    t.wait(lambda: d.tick() >= first + 5, "five more looks")
    t.note(f"a look took {(harness.cpu_seconds(d.pid) - cpu) / (d.tick() - first) * 1e3:.0f} ms of CPU, "
           f"{(harness.cpu_seconds(d.pid) - cpu) / (time.monotonic() - began) * 100:.1f}% at one a second, "
           f"with {len(before)} other processes")
    size = harness.vm(d.pid)
    t.note(f"memory of the engine: {size['VmRSS'] / MIB:.1f} MiB, at most {size['VmHWM'] / MIB:.1f} MiB")
    if not is_instrumented(d.pid):
        t.check(size["VmRSS"] <= 24 * MIB, f"the engine has {size['VmRSS'] / MIB:.1f} MiB")

    # one ends, and one of each large group with it
    gone = pids["s123"]
    for pid in gone:
        os.kill(pid, 9)
    d.wait_group("one123", lambda g: g["processes"] == 0, "the group to be empty")
    t.equal(d.group("all3")["processes"], PROCESSES // 10 - EACH, "processes of all3")
