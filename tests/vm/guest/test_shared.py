# SPDX-License-Identifier: MIT
"""Shared memory on the hosts people have: services that fork, users with sessions, and strangers in one cgroup with members.

What a group holds is judged by the kernel's counters: memory.stat counts a shared page once, as capd does, and is exact on
every kernel, which the counters of /proc/PID/status are not.
"""
import collections
import ctypes
import os
import time

from guest import cgroup_of, cgroup_pids, cgroup_table
from harness import MIB, PAGE, libc, rollup
from scenario import DAEMON, Bystander, charged_anon, enter, figures, group, make_cgroup, mib, unmapped_cache, vmstat

PROCESS_MADVISE = 440
MADV_PAGEOUT = 21


def has_damon():
    return os.path.exists("/sys/kernel/mm/damon/admin")


def madvise_pageout(pid, address, length):
    """process_madvise(MADV_PAGEOUT) on a range of a process. The bytes it says it has worked on."""
    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
    pidfd = os.pidfd_open(pid)
    try:
        vector = Vector(address, length)
        return libc.syscall(PROCESS_MADVISE, pidfd, ctypes.byref(vector), ctypes.c_size_t(1), MADV_PAGEOUT, 0)
    finally:
        os.close(pidfd)


class Load:
    """A service whose processes share memory, and a client that asks it all the time for the first of its pages."""

    def __init__(self, t, size, children, cache, hot):
        self.t = t
        socket = f"{t.tmp}/socket"
        self.process, self.unit = t.unit_workload("service", socket, size, children, f"{t.tmp}/file", cache)
        self.cgroup = self.unit.cgroup
        self.client = t.workload("client", socket, hot)
        self.asked = 0
        self.worst = 0

    def judge(self):
        """Questions were answered since the last look; none was without an answer, and no page was not what it had been."""
        def answered():
            answer = self.client.ask("stat")
            self.t.equal((answer["errors"], answer["bad"]), (0, 0), "errors and bad pages at the client")
            self.worst = max(self.worst, answer["worst_usec"])
            return answer["asked"] > self.asked and answer["asked"]
        self.asked = self.t.wait(answered, "the service to answer the client")


def prove_madvise_does_nothing(t, load, size):
    """Said of each process in turn to have done all of it, and nothing has gone."""
    held, address = charged_anon(load.cgroup), load.process.truth["address"]
    t.check(held > size, f"the service holds {held}")
    before = vmstat("pswpout")
    for pid in load.process.pids:
        t.equal(madvise_pageout(pid, address, size), size, f"what process_madvise says it has done to {pid}")
    t.check(charged_anon(load.cgroup) > size, "process_madvise does page out shared memory here")
    t.check(vmstat("pswpout")[0] - before[0] < MIB // PAGE, "process_madvise wrote to swap")


def main_means(capd):
    """The means by which most left: what is over the cap at the end may be so little that single processes have it alone."""
    moved = collections.Counter()
    for entry in capd.journal():
        if "CAPD_UNMAPPED_BYTES" in entry:
            moved[entry["CAPD_STRATEGY"]] += int(entry["CAPD_UNMAPPED_BYTES"])
    return moved.most_common(1)[0][0] if moved else None


def test_service_over_its_cap(t):
    """A service with 20 forked children that share 200 MiB is brought under 100 MiB, which process_madvise cannot do."""
    size, cap, cache = 200 * MIB, 100 * MIB, 400 * MIB
    t.zram(512)
    bystander = Bystander(t)
    load = Load(t, size // MIB, 20, cache // MIB, hot=8)
    t.equal(len(load.process.pids), 21, "processes of the service")
    prove_madvise_does_nothing(t, load, size)
    held, cached = charged_anon(load.cgroup), unmapped_cache(load.cgroup)
    t.check(cached > cache * 9 // 10, f"page cache of the service: {cached}")
    load.judge()

    began = time.monotonic()
    capd = t.service(DAEMON + group("g", "100M", Unit=load.unit.name))

    def under():
        load.judge()
        return charged_anon(load.cgroup) <= cap
    t.wait(under, "the service to come under its cap", 150, step=1)
    t.note(f"under the cap after {time.monotonic() - began:.0f} s")
    state = capd.wait_state("g", "ok")
    t.check(state["resident"] <= cap, f"resident is {state['resident']}")
    t.equal(state["processes"], 21, "processes of the group")
    kept = unmapped_cache(load.cgroup)
    # what the client uses may just be coming back
    t.wait(lambda: sum(rollup(pid)["Pss"] for pid in load.process.pids) <= cap, "the kernel's walks to add up to less")
    # The client's pages stay in use, and it stays there.
    highest = 0
    for _ in range(4):
        time.sleep(3)
        load.judge()
        highest = max(highest, charged_anon(load.cgroup))
    t.check(highest < cap + 8 * MIB, f"the service went up to {highest} again")
    means = main_means(capd)
    t.note(f"{mib(held)} to {mib(charged_anon(load.cgroup))} MiB by {means} in {figures(capd, 'g', 'ACTS')['acts']} acts; page cache "
           f"{mib(cached)} to {mib(kept)} MiB; {load.asked} answers, the slowest in {load.worst / 1000:.0f} ms")
    t.equal(means, "damon" if has_damon() else "memory.reclaim", "the means")
    if has_damon():
        t.check(kept > cached - 8 * MIB, f"page cache of the service fell from {cached} to {kept}")
    t.equal(load.process.ask("verify", timeout=300)["bad"], 0, "bad pages")
    load.judge()
    bystander.judge()


test_service_over_its_cap.limit = 420


class Person:
    """A user with a login session and a service of the user's own manager, each with memory that its processes share."""

    def __init__(self, t, name, size):
        self.t = t
        self.name = name
        t.user_manager(name)
        # What su(1), login(1) or sshd(8) leave in the cgroup of a session is root's. Without DAMON that keeps what is shared there out of
        # reach; what is one process's own is not.
        self.session = (t.session_workload(name, "family", size, 2) if has_damon()
                        else t.session_workload(name, "writer", size, 4, 0))
        self.service, self.unit = t.unit_workload("family", size, 3, user=name)
        self.slice = f"/user.slice/user-{t.uid(name)}.slice"
        for process in (self.session, self.service):
            t.check(cgroup_of(process.pids[-1]).startswith(self.slice), f"{process.pids} are in the slice of {name}")
        t.check("/session-" in cgroup_of(self.session.pids[-1]), f"{name} has a session")

    def held(self):
        return charged_anon(self.slice)

    def judge(self):
        for process in (self.session, self.service):
            self.t.equal(process.ask("verify", timeout=300)["bad"], 0, f"bad pages of {self.name}")


def test_users_at_their_own_caps(t):
    """ForEach=user: users with sessions and services of their own, each held at a cap; one below it is left alone."""
    t.zram(512)
    people = {name: Person(t, name, size) for name, size in (("alice", 60), ("bob", 60), ("carol", 8))}
    caps = {"alice": 64 * MIB, "bob": 104 * MIB, "carol": 64 * MIB}
    untouched = people["carol"].held()
    for name in ("alice", "bob"):
        t.check(people[name].held() > 120 * MIB, f"{name} holds {people[name].held()}")
    capd = t.service(DAEMON + group("login", "64M", ForEach="user", Uid="1000-59999"))
    capd.ctl("cap", "login/bob", "104M")
    for name in ("alice", "bob"):
        t.wait(lambda: people[name].held() <= caps[name], f"{name} to come under the cap", 150, step=1)
    for name, person in people.items():
        state = capd.wait_state(f"login/{name}", "ok")
        t.equal(state["cap"], caps[name], f"cap of {name}")
        t.check(state["resident"] <= caps[name], f"{name} holds {state['resident']}")
        t.note(f"{name}: {mib(state['resident'])} MiB of {mib(caps[name])}, {mib(state['rss_sum'])} MiB by adding up RSS, "
               f"{mib(person.held())} by memory.stat, {figures(capd, f'login/{name}', 'STRATEGY')['strategy']}")
    # Bob's cap is bob's own: nobody was brought down to the lower one of somebody else.
    t.check(people["bob"].held() > caps["alice"], f"bob holds {people['bob'].held()}")
    t.check(people["carol"].held() >= untouched - MIB, "memory was taken from the user below the cap")
    t.equal(figures(capd, "login/carol", "ACTS")["acts"], 0, "acts on the user below the cap")
    for person in people.values():
        person.judge()


test_users_at_their_own_caps.limit = 420


def test_strangers_in_the_cgroup(t):
    """Members of a group among strangers in one cgroup: what is not the group's is not reclaimed."""
    t.zram(512)
    cgroup = make_cgroup(t, "/capd-tests-mixed")
    exe = t.executable_copy("member")
    member = t.workload("writer", 60, 2, 0, executable=exe, preexec_fn=enter(cgroup))
    family = t.workload("family", 60, 3, executable=exe, preexec_fn=enter(cgroup))
    stranger = Bystander(t, 64, preexec_fn=enter(cgroup))
    # The stranger's page cache is the first that memory.reclaim would take.
    service = t.workload("service", f"{t.tmp}/socket", 1, 1, f"{t.tmp}/file", 64, preexec_fn=enter(cgroup))
    t.equal(sorted(cgroup_pids(cgroup)), sorted([member.pid, *family.pids, stranger.pid, *service.pids]), "who is there")
    cached = unmapped_cache(cgroup)
    t.check(cached > 60 * MIB, f"page cache of the strangers: {cached}")
    capd = t.service(DAEMON + group("g", "40M", Exe=exe))
    t.wait(lambda: rollup(member.pid)["Anonymous"] < 40 * MIB, "the private part of the group to go", 150)
    if has_damon():
        # 1 MiB of the service's memory, and what programs have on their stacks.
        t.wait(lambda: charged_anon(cgroup) <= (64 + 40 + 4) * MIB, "the shared part of the group to go", 150)
        capd.wait_state("g", "ok")
    else:
        state = capd.wait_state("g", "unenforceable")
        t.check("cgroup" in state["reason"], f"the reason does not tell that no cgroup is the group's alone: {state['reason']!r}")
        t.check(rollup(family.pid)["Anonymous"] > 60 * MIB, "what the family shares went away")
    stranger.judge()
    kept = unmapped_cache(cgroup)
    t.note(f"the group: {mib(capd.group('g')['resident'])} MiB; the strangers' page cache {mib(cached)} to {mib(kept)} MiB")
    t.check(kept >= cached - MIB, f"the strangers' page cache fell from {cached} to {kept}")
    for process in (member, family):
        t.equal(process.ask("verify", timeout=300)["bad"], 0, "bad pages")


test_strangers_in_the_cgroup.limit = 420
