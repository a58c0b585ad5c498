# SPDX-License-Identifier: MIT
"""Who belongs to which group while others move, end and start idle processes: what the kernel's own files say of each."""
import json
import os
import random
import signal

from guest import CGROUPS, cgroup_number, cgroup_of
from harness import Failure, children, state
from scenario import DAEMON, enter, make_cgroup, remove_cgroup

FLAT = ("/members/a", "/members/b", "/members/c")
THREADED = "/members/c/threaded"
OUTSIDE = "/members/outside"


def write(path, text):
    with open(CGROUPS + path, "w", encoding="ascii") as f:
        f.write(str(text))


def threaded_cgroup(t):
    """One whose processes cgroup.procs of the cgroup above lists, which the processes' own files call by its name."""
    os.mkdir(CGROUPS + THREADED)
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


def known(capd):
    """How many processes capd has an eye on."""
    return next(int(line.split()[1]) for line in capd.ctl("metrics").stdout.splitlines() if line.startswith("capd_processes "))


def everybody():
    return sum(name.isdigit() for name in os.listdir("/proc"))


class Crowd:
    """Processes that go from cgroup to cgroup."""

    def __init__(self, t, capd, rng, idle, everyone):
        self.t, self.capd, self.rng, self.idle, self.everyone = t, capd, rng, idle, everyone

    def step(self, places):
        for _ in range(8):
            pid, place = self.rng.choice(self.idle), self.rng.choice(places)
            # into a threaded cgroup goes a thread, and only from within its domain
            if place == THREADED:
                write("/members/c/cgroup.procs", pid)
                write(f"{THREADED}/cgroup.threads", pid)
            else:
                write(f"{place}/cgroup.procs", pid)
        os.kill(self.idle.pop(self.rng.randrange(len(self.idle))), signal.SIGKILL)
        more = self.t.workload("sleepers", 1, preexec_fn=enter(self.rng.choice(FLAT)))
        self.everyone += [more.pid, *children(more.pid)]
        self.idle += children(more.pid)

    def agree(self, when):
        seen = []

        def look():
            seen[:] = [truth(self.everyone), shown(self.capd)]
            return seen[0] == seen[1]
        try:
            self.t.wait(look, f"membership to be what the kernel says {when}")
        except Failure as e:
            raise Failure(f"{e}: the kernel {seen[0]}, capd {seen[1]}") from None


def test_idle_processes_that_are_moved(t):
    """In groups that are whole cgroups, which are listed; and the same with a threaded one, where all processes are looked at."""
    rng = random.Random(4)
    for path in (*FLAT, OUTSIDE):
        make_cgroup(t, path)
    t.cleanup(remove_cgroup, t, THREADED)  # after those who will be in it
    parents = [t.workload("sleepers", 12, preexec_fn=enter(path)) for path in (*FLAT[:2], OUTSIDE)]
    idle = [pid for p in parents for pid in children(p.pid)]
    everyone = idle + [p.pid for p in parents]
    capd = t.service(DAEMON + "Protect=\n" +
                     "".join(f"[Group {p.rpartition('/')[2]}]\nCgroup={p}\nCap=100%\n" for p in (*FLAT, THREADED)))
    crowd = Crowd(t, capd, rng, idle, everyone)
    crowd.agree("at the beginning")
    for step in range(5):
        crowd.step((*FLAT, OUTSIDE))
        crowd.agree(f"after step {step}")
    # nobody else was looked at, nor taken for a member where cgroups are judged as a whole: OUTSIDE is beside those of the groups
    t.wait(lambda: known(capd) == sum(len(truth(everyone)[place]) for place in FLAT), "capd to know the members and nobody else")
    t.check(everybody() > known(capd) + 10, f"{everybody()} processes in all, {known(capd)} known")
    explained = json.loads(capd.ctl("explain", "-J", "a").stdout)["groups"][0]
    t.near(explained["cgroup_current"], cgroup_number("/members/a", "memory.current"), 256 * 1024, "memory of the group's cgroup")
    threaded_cgroup(t)
    for step in range(3):
        crowd.step((*FLAT, THREADED, OUTSIDE))
        crowd.agree(f"after step {step} with threads")
    t.check(truth(everyone)[THREADED], "nobody is in the threaded cgroup")
    t.check(known(capd) > sum(len(truth(everyone)[place]) for place in FLAT), "all processes are looked at")
