# SPDX-License-Identifier: MIT
"""capd.service is reloaded, restarted, stopped, stuck or killed in the middle of acting by every means at once."""
import os
import signal

from guest import CGROUPS, DAMON, RUNTIME, cgroup_number, cgroup_of, cgroup_pids
from harness import MIB, children, read
from scenario import DAEMON, Bystander, group
from test_service import drop_in

# Acts are small and many, so that there is always one to be caught in.
SLOWLY = {"ReclaimRate": "6M", "ProcessFloor": "0"}


class Members:
    """Two units that share memory inside, of which one goes by memory.reclaim; a family among strangers, which only DAMON
    can page out; two units that are moved together."""

    def __init__(self, t):
        self.t = t
        self.frames = t.workload("family", 80, 2, comm="framed")
        self.owned, self.unit = t.unit_workload("family", 80, 2)
        pairs = [t.unit_workload("member", 20, name=f"moving-{n}") for n in ("a", "b")]
        self.moved = [p for p, _ in pairs]
        self.all = [self.frames, self.owned, *self.moved]
        self.homes = {pid: cgroup_of(pid) for p in self.all for pid in p.pids}
        self.groups = (group("frames", "12M", Comm="framed", **SLOWLY) + group("owned", "12M", Unit=self.unit.name, **SLOWLY)
                       + group("moved", "1G", Unit=" ".join(u.name for _, u in pairs), Action="move"))

    def touch(self):
        for p in self.all:
            self.t.check(p.ask("touch", 300)["ok"], "its memory")

    def caught(self, capd):
        """All means are at work right now."""
        groups = capd.groups()
        return (groups["owned"]["state"] == "enforcing" and (groups["owned"]["swap"] or 0) > 0 and groups["moved"].get("moved") == 2
                and read(DAMON, "1").strip() == "1")

    def clean(self, what):
        """Nothing of it is left but pages in swap."""
        t = self.t
        t.wait(lambda: all(cgroup_of(pid) == home for pid, home in self.homes.items()), f"processes to be put back after {what}")
        t.equal(read(DAMON, "0").strip(), "0", f"kdamonds after {what}")
        t.equal(cgroup_number(self.unit.cgroup, "memory.high"), None, f"memory.high of the unit after {what}")
        t.wait(lambda: not os.path.exists(f"{CGROUPS}/capd.slice/capd-moved.scope"), f"the scope to be gone after {what}")
        for p in self.all:
            t.check(p.child.poll() is None, f"a member has ended after {what}")


def stopped(t, members, what):
    t.equal((t.capd.active(), t.capd.property("Result")), ("inactive", "success"), f"the service after {what}")
    t.equal(os.listdir(RUNTIME), [], f"what is left in {RUNTIME} after {what}")
    t.wait(lambda: not os.path.exists(f"{CGROUPS}/capd.slice"), f"capd.slice to be gone after {what}")
    members.clean(what)


def by_reload(t, members):
    """A configuration without these groups: they are let go of, and capd goes on."""
    pid = t.capd.pid()
    t.capd.reload(DAEMON)
    t.wait(lambda: not t.capd.groups(), "the groups to be gone")
    t.wait(lambda: read(DAMON, "0").strip() == "0", "the act to end")
    members.clean("a reload")
    t.equal(t.capd.pid(), pid, "the engine")
    t.capd.reload(DAEMON + members.groups)


def by_restart(t, members):
    """Afterwards it is at work again, whatever state it was in."""
    t.capd.restart()


def by_stop(t, members):
    t.run("systemctl", "stop", "capd.service", check=0)
    stopped(t, members, "a stop")
    t.capd.start()


def by_signal(number, what):
    """The engine is gone, or as good as gone; the next one undoes what it had under way, and goes on."""
    def end(t, members):
        before = t.capd.pid()
        fronts = children(before)
        os.kill(before, number)
        t.wait(lambda: t.capd.pid() not in (0, before) and t.capd.active() == "active", f"another engine after {what}")
        t.wait(lambda: t.capd.try_status(), "it to answer")
        t.wait(lambda: not any(os.path.exists(f"/proc/{p}") for p in (before, *fronts)), f"the first capd to be gone after {what}")
    return end


def test_in_the_middle_of_acting(t):
    t.zram(512)
    bystander = Bystander(t)
    drop_in(t, "[Service]\nWatchdogSec=15s\n")
    members = Members(t)
    capd = t.service(DAEMON + members.groups)
    for end in (by_reload, by_restart, by_stop, by_signal(signal.SIGSTOP, "the watchdog"), by_signal(signal.SIGKILL, "kill -9")):
        t.wait(lambda: members.caught(capd), "capd to be at work by every means", step=0.02)
        end(t, members)
        members.touch()
    t.wait(lambda: members.caught(capd), "capd to be at work by every means", step=0.02)
    t.run("systemctl", "stop", "capd.service", check=0)
    stopped(t, members, "all of it")
    for p in (members.frames, members.owned):
        t.equal(p.ask("verify", 300).get("bad", 0), 0, "bad pages")
    t.check(all(pid in cgroup_pids(home) for pid, home in members.homes.items()), "every process is where it was")
    t.check(sum(os.path.exists(f"/proc/{pid}") for pid in members.homes) == len(members.homes), "every process lives")
    t.note(f"{len(members.homes)} processes of {sum(p.truth.get('anon', 0) for p in members.all) / MIB:.0f} MiB")
    bystander.judge()


test_in_the_middle_of_acting.limit = 360
