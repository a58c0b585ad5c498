# SPDX-License-Identifier: MIT
"""Action=move: processes of several units in one scope, the limit of a unit, and everything put back."""
import os
import signal
import time

import harness
from guest import cgroup_number, cgroup_of, cgroup_pids, cgroup_table, read
from harness import MIB

DAEMON = "[Daemon]\nSampleInterval=1s\nScanInterval=1s\n"

# Grows to as many MiB as the file says, 1 MiB at a time, and writes down how far it is.
GROWER = """
import sys, time
want, have, memory = sys.argv[1], sys.argv[2], []
while True:
    try:
        goal = int(open(want).read() or 0)
    except OSError:
        goal = 0
    while len(memory) < goal:
        memory.append(bytearray(b"x%d" % len(memory) * (1 << 19))[:1 << 20])
        open(have, "w").write(str(len(memory)))
    time.sleep(0.05)
"""


class Grower:
    def __init__(self, t, name, **settings):
        self.want, self.have = f"{t.tmp}/{name}.want", f"{t.tmp}/{name}.have"
        self.unit = t.unit("/usr/bin/python3", "-c", GROWER, self.want, self.have, name=name, **settings)
        self.pid = self.unit.pid

    def grow(self, mib):
        with open(self.want + ".new", "w", encoding="ascii") as f:
            f.write(str(mib))
        os.rename(self.want + ".new", self.want)

    def size(self):
        return int(read(self.have, "0") or 0)


def group(name, units, cap, more=""):
    return f"[Group {name}]\nUnit={units}\nCap={cap}\nAction=move\nLowWatermark=90%\n{more}"


def moved(capd, name, number, timeout=harness.GUARD):
    return capd.wait_group(name, lambda g: g.get("moved") == number, f"{number} processes moved", timeout)


def wait_back(t, process, cgroup):
    t.wait(lambda: cgroup_of(process) == cgroup, f"process {process} to be back in {cgroup}")


def two_units(t):
    pairs = [t.unit_workload("family", 30, 2, name=f"move-{n}") for n in ("a", "b")]
    return pairs, [(pid, cgroup_of(pid)) for p, _ in pairs for pid in p.pids]


def check_moved(t, capd, homes, name="m"):
    moved(capd, name, len(homes))
    for pid, home in homes:
        t.equal(cgroup_of(pid), f"/capd.slice/capd-{name}.scope", f"cgroup of {pid}, which was in {home}")


def check_home(t, homes, name="m"):
    for pid, home in homes:
        wait_back(t, pid, home)
    t.wait(lambda: not os.path.exists(f"/sys/fs/cgroup/capd.slice/capd-{name}.scope"), "the scope to end")


def check_active(t, pairs):
    for process, unit in pairs:
        t.equal(unit.show("ActiveState"), "active", f"{unit.name}")
        t.equal(unit.pid, process.pids[0], f"main process of {unit.name}")


def test_units_into_one_scope(t):
    """Processes of two units go into one scope; both services stay active; a reload without the group puts all back."""
    pairs, homes = two_units(t)
    capd = t.service(DAEMON + group("m", "move-a.service move-b.service", "300M"))
    check_moved(t, capd, homes)
    t.wait(lambda: cgroup_number("/capd.slice/capd-m.scope", "memory.high") == 300 * MIB, "the limit")
    t.equal(t.run("systemctl", "show", "--value", "-p", "MemoryHigh", "capd-m.scope").stdout.strip(), str(300 * MIB),
            "what systemd knows of it")
    shown = t.capctl("status", "m", "-o", "+MOVED,MOVE-TARGET,HIGH").stdout
    t.check("capd-m.scope" in shown and "300" in shown, f"status shows {shown}")
    t.check("into capd-m.scope" in t.capctl("explain", "m").stdout, "explain tells of the scope")
    check_active(t, pairs)
    capd.reload(DAEMON)
    check_home(t, homes)
    check_active(t, pairs)
    t.wait(lambda: "state" not in os.listdir("/run/capd"), "the state file to be gone")


def test_undone_at_stop(t):
    pairs, homes = two_units(t)
    capd = t.service(DAEMON + group("m", "move-a.service move-b.service", "300M"))
    check_moved(t, capd, homes)
    capd.stop()
    for pid, home in homes:
        t.equal(cgroup_of(pid), home, "cgroup after the stop")
    check_home(t, homes)
    check_active(t, pairs)
    t.wait(lambda: not os.path.exists("/sys/fs/cgroup/capd.slice"), "capd.slice to be gone")


def test_undone_after_kill(t):
    """After kill -9 the next start puts everything back, also what was born meanwhile and what no configuration names."""
    pairs, homes = two_units(t)
    capd = t.service(DAEMON + group("m", "move-a.service move-b.service", "300M"))
    check_moved(t, capd, homes)
    capd.configure(DAEMON)
    before = capd.pid()
    os.kill(before, signal.SIGKILL)
    t.wait(lambda: capd.pid() not in (0, before) and capd.answers(), "capd to be started again")
    check_home(t, homes)
    check_active(t, pairs)
    t.check("Undoing what a capd that did not end well" in capd.log(), "the log tells")


def test_undone_by_pause(t):
    pairs, homes = two_units(t)
    capd = t.service(DAEMON + group("m", "move-a.service move-b.service", "300M"))
    check_moved(t, capd, homes)
    t.capctl("pause", "m")
    check_home(t, homes)
    t.capctl("resume", "m")
    check_moved(t, capd, homes)
    t.capctl("pause")
    check_home(t, homes)
    t.capctl("resume")
    check_moved(t, capd, homes)
    capd.reload(DAEMON + group("m", "move-a.service move-b.service", "300M").replace("move\n", "observe\n"))
    check_home(t, homes)


def test_new_members(t):
    """A unit that starts later is moved at the next look, and its limit follows capctl cap."""
    pairs, homes = two_units(t)
    capd = t.service(DAEMON + group("m", "move-*.service", "300M"))
    check_moved(t, capd, homes)
    late, unit = t.unit_workload("family", 10, 3, name="move-late")
    homes += [(pid, unit.cgroup) for pid in late.pids]
    check_moved(t, capd, homes)
    t.capctl("cap", "m", "200M")
    t.wait(lambda: cgroup_number("/capd.slice/capd-m.scope", "memory.high") == 200 * MIB, "the limit to follow")
    # who leaves the group goes back
    capd.reload(DAEMON + group("m", "move-a.service move-b.service", "300M"))
    for pid in late.pids:
        wait_back(t, pid, unit.cgroup)
    moved(capd, "m", len(homes) - len(late.pids))
    capd.stop()
    check_home(t, homes)


def test_growth_is_held(t):
    """What comes after the move stays below the cap: the kernel pages out instead of letting the group grow."""
    t.zram(600)
    growers = [Grower(t, f"move-grow{n}") for n in (1, 2)]
    capd = t.service(DAEMON + group("m", "move-grow*.service", "100M"))
    moved(capd, "m", 2)
    t.wait(lambda: cgroup_number("/capd.slice/capd-m.scope", "memory.high") == 100 * MIB, "the limit")
    for g in growers:
        g.grow(100)
    t.wait(lambda: all(g.size() == 100 for g in growers), "both to have grown", 240)
    t.wait(lambda: cgroup_number("/capd.slice/capd-m.scope", "memory.current") <= 110 * MIB, "use below the cap")
    capd.wait_group("m", lambda g: g["resident"] <= 100 * MIB, "resident below the cap")
    t.check(cgroup_table("/capd.slice/capd-m.scope", "memory.events")["high"] > 0, "the limit was met")
    capd.stop()
    for g in growers:
        wait_back(t, g.pid, g.unit.cgroup)


def test_no_swap_no_livelock(t):
    """Without swap a group that grows over its cap goes on growing: the limit is lifted, and capd says why."""
    t.need_no_swap()
    growers = [Grower(t, f"move-grow{n}") for n in (1, 2)]
    capd = t.service(DAEMON + group("m", "move-grow*.service", "60M"))
    moved(capd, "m", 2)
    began = time.monotonic()
    for g in growers:
        g.grow(60)
    t.wait(lambda: all(g.size() == 60 for g in growers), "both to have grown")
    t.note(f"grew to twice the cap in {time.monotonic() - began:.1f} s")
    note = capd.wait_group("m", lambda g: "swap" in (g.get("move_note") or ""), "the reason")["move_note"]
    t.check("add swap" in note, note)
    t.wait(lambda: cgroup_number("/capd.slice/capd-m.scope", "memory.high") is None, "the limit to be lifted")
    capd.stop()
    for g in growers:
        wait_back(t, g.pid, g.unit.cgroup)


def test_unit_of_its_own(t):
    """A group that is one whole unit keeps its place: the unit gets MemoryHigh=, and loses it again."""
    process, unit = t.unit_workload("family", 30, 3, name="move-own")
    capd = t.service(DAEMON + group("own", "move-own.service", "200M"))
    t.wait(lambda: unit.show("MemoryHigh") == str(200 * MIB), "MemoryHigh= of the unit")
    t.wait(lambda: cgroup_number(unit.cgroup, "memory.high") == 200 * MIB, "memory.high")
    for pid in process.pids:
        t.equal(cgroup_of(pid), unit.cgroup, "cgroup")
    capd.reload(DAEMON + group("own", "move-own.service", "150M"))
    t.wait(lambda: unit.show("MemoryHigh") == str(150 * MIB), "MemoryHigh= to follow")
    t.run("systemctl", "daemon-reload", check=0)
    t.wait(lambda: cgroup_number(unit.cgroup, "memory.high") == 150 * MIB, "the limit after daemon-reload")
    capd.reload(DAEMON)
    t.wait(lambda: unit.show("MemoryHigh") == "infinity", "MemoryHigh= to be gone")
    t.wait(lambda: cgroup_number(unit.cgroup, "memory.high") is None, "memory.high to be gone")
    t.equal(unit.show("ActiveState"), "active", "the service")


def test_unit_of_its_own_at_stop(t):
    _, unit = t.unit_workload("family", 30, 3, name="move-own")
    capd = t.service(DAEMON + group("own", "move-own.service", "200M"))
    t.wait(lambda: unit.show("MemoryHigh") == str(200 * MIB), "MemoryHigh= of the unit")
    capd.stop()
    t.equal(unit.show("MemoryHigh"), "infinity", "MemoryHigh= after the stop")
    t.wait(lambda: cgroup_number(unit.cgroup, "memory.high") is None, "memory.high to be gone")
    t.equal(os.listdir("/run/capd") if os.path.isdir("/run/capd") else [], [], "what is left in the runtime directory")


def test_unit_of_its_own_after_kill(t):
    """A MemoryHigh= that was there before comes back, after a crash too."""
    _, unit = t.unit_workload("family", 30, 3, name="move-own", MemoryHigh="400M")
    capd = t.service(DAEMON + group("own", "move-own.service", "200M"))
    t.wait(lambda: unit.show("MemoryHigh") == str(200 * MIB), "MemoryHigh= of the unit")
    capd.configure(DAEMON)
    before = capd.pid()
    os.kill(before, signal.SIGKILL)
    t.wait(lambda: capd.pid() not in (0, before) and capd.answers(), "capd to be started again")
    t.wait(lambda: unit.show("MemoryHigh") == str(400 * MIB), "MemoryHigh= of before")
    t.wait(lambda: cgroup_number(unit.cgroup, "memory.high") == 400 * MIB, "memory.high of before")


def test_origin_gone(t):
    """A process whose unit has ended meanwhile stays in the scope, without a limit."""
    pairs, homes = two_units(t)
    capd = t.service(DAEMON + group("m", "move-a.service move-b.service", "300M"))
    check_moved(t, capd, homes)
    # the main process ends with the unit, its children are in the scope
    a = pairs[0][1]
    t.run("systemctl", "kill", "--kill-whom=main", "-s", "KILL", a.name, check=0)
    t.wait(lambda: a.show("ActiveState") != "active", f"{a.name} to end")
    capd.stop()
    for pid, home in homes:
        if home != f"/system.slice/{a.name}":
            t.equal(cgroup_of(pid), home, "cgroup of the other")


def test_no_main_process(t):
    """A service of which systemd knows no main process is left alone: with an empty cgroup it would be stopped."""
    process, unit = t.unit_workload("family", 20, 2, name="move-s")
    forking = t.unit("sh", "-c", "sleep 1000 & sleep 1000 & exit 0", name="move-f", Type="forking", GuessMainPID="no")
    homes = [(pid, cgroup_of(pid)) for pid in forking.pids()]
    t.equal(forking.pid, 0, "its main process")
    capd = t.service(DAEMON + group("m", "move-s.service move-f.service", "300M"))
    moved(capd, "m", len(process.pids))
    time.sleep(3)
    for pid, home in homes:
        t.equal(cgroup_of(pid), home, "cgroup")
    capd.wait_group("m", lambda g: "no main process" in (g.get("move_note") or ""), "the reason to be shown")
    t.equal(forking.show("ActiveState"), "active", "the service")
    capd.stop()
    for pid in process.pids:
        t.equal(cgroup_of(pid), unit.cgroup, "cgroup after the stop")


def test_session_stays(t):
    """Members in a user's session are left where they are; others are moved."""
    session = t.session_workload("alice", "family", 20, 2, comm="moveme")
    process, unit = t.unit_workload("family", 20, 2, name="move-s", comm="moveme")
    stranger, _ = t.unit_workload("family", 10, 1, name="other-s")
    home = cgroup_of(session.pids[0])
    capd = t.service(DAEMON + "[Group s]\nComm=moveme\nCap=300M\nAction=move\n")
    moved(capd, "s", len(process.pids))
    for pid in session.pids:
        t.equal(cgroup_of(pid), home, "cgroup of the session's")
    capd.wait_group("s", lambda g: "session" in (g.get("move_note") or ""), "the reason to be shown")
    t.check(stranger.pids[0] not in cgroup_pids("/capd.slice/capd-s.scope"), "a stranger is not moved")
    capd.stop()
    for pid in process.pids:
        t.equal(cgroup_of(pid), unit.cgroup, "cgroup after the stop")
