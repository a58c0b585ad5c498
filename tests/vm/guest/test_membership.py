# SPDX-License-Identifier: MIT
"""Who belongs to which group while others move, end and start idle processes: what the kernel's own files say of each."""
import json
import os
import random
import signal

from guest import CGROUPS, cgroup_of
from harness import Failure, children, state
from scenario import DAEMON, enter, make_cgroup, remove_cgroup

FLAT = ("/members/a", "/members/b", "/members/c")
THREADED = "/members/c/threaded"


def write(path, text):
    with open(CGROUPS + path, "w", encoding="ascii") as f:
        f.write(str(text))


def threaded_cgroup(t):
    """One whose processes cgroup.procs of the cgroup above lists, which the processes' own files call by its name."""
    os.mkdir(CGROUPS + THREADED)
    t.cleanup(remove_cgroup, t, THREADED)
    write(f"{THREADED}/cgroup.type", "threaded")


def truth(pids):
    """The live ones of these, by cgroup."""
    found = {place: set() for place in (*FLAT, THREADED)}
    for pid in pids:
        try:
            place = cgroup_of(pid) if state(pid) != "Z" else ""
        except (OSError, IndexError):
            continue
        for name, members in found.items():
            if place == name or place.startswith(name + "/"):
                members.add(pid)
    return found


def shown(capd):
    return {place: {p["pid"] for p in json.loads(capd.ctl("ps", "-J", place.rpartition("/")[2]).stdout)["processes"]}
            for place in (*FLAT, THREADED)}


def test_idle_processes_that_are_moved(t):
    rng = random.Random(4)
    for path in FLAT:
        make_cgroup(t, path)
    threaded_cgroup(t)
    parents = [t.workload("sleepers", 12, preexec_fn=enter(path)) for path in FLAT[:2]]
    idle = [pid for p in parents for pid in children(p.pid)]
    everyone = idle + [p.pid for p in parents]
    capd = t.service(DAEMON + "".join(f"[Group {p.rpartition('/')[2]}]\nCgroup={p}\nCap=100%\n" for p in (*FLAT, THREADED)))

    def agree(when):
        seen = []

        def look():
            seen[:] = [truth(everyone), shown(capd)]
            return seen[0] == seen[1]
        try:
            t.wait(look, f"membership to be what the kernel says {when}")
        except Failure as e:
            raise Failure(f"{e}: the kernel {seen[0]}, capd {seen[1]}") from None
    agree("at the beginning")
    for step in range(5):
        for _ in range(8):
            pid, place = rng.choice(idle), rng.choice((*FLAT, THREADED))
            # into a threaded cgroup goes a thread, and only from within its domain
            if place == THREADED:
                write("/members/c/cgroup.procs", pid)
                write(f"{THREADED}/cgroup.threads", pid)
            else:
                write(f"{place}/cgroup.procs", pid)
        ended = idle.pop(rng.randrange(len(idle)))
        os.kill(ended, signal.SIGKILL)
        more = t.workload("sleepers", 1, preexec_fn=enter(rng.choice(FLAT)))
        everyone += [more.pid, *children(more.pid)]
        idle += children(more.pid)
        agree(f"after step {step}")
    t.check(truth(everyone)[THREADED], "nobody is in the threaded cgroup")
