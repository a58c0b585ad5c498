# SPDX-License-Identifier: MIT
"""What a process feels while it is counted or paged out: how long a thread of it waits that maps, faults in and unmaps."""
import ctypes
import os
import time


class Feeling:
    """What a victim felt while something went on, in microseconds."""

    def __init__(self, victim, action, seconds):
        victim.ask("mark")
        began = time.monotonic()
        rounds = 0
        while rounds == 0 or (seconds and time.monotonic() - began < seconds):
            action()
            rounds += 1
        self.seconds = time.monotonic() - began
        self.rounds = rounds
        time.sleep(0.05)  # the round that waited for all of it is through by then
        answer = victim.ask("stat")
        self.median, self.p999, self.worst = answer["median"], answer["p999"], answer["worst"]

    def show(self, what):
        print(f"  {what:<58} median {self.median:8.0f} µs   99.9 % {self.p999:8.0f} µs   worst {self.worst:8.0f} µs"
              f"   ({self.rounds} in {self.seconds:.1f} s)", flush=True)


def rollup(pid):
    with open(f"/proc/{pid}/smaps_rollup", "rb") as f:
        f.read()


def madvise_all(harness, pid, address, length):
    """One process_madvise(MADV_PAGEOUT) over everything: what one would write without thinking of the target."""
    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
    pidfd = os.pidfd_open(pid)
    vector = Vector(address, length)
    try:
        return harness.libc.syscall(440, pidfd, ctypes.byref(vector), ctypes.c_size_t(1), 21, 0)
    finally:
        os.close(pidfd)


def counted(t, bench, harness, mib, seconds):
    victim = t.workload("victim", "anon", mib)
    pid = str(victim.pid)
    print(f"What a process of {mib} MiB in 4 KiB pages feels while it is counted")
    felt = {}
    for what, action in (("nothing", lambda: time.sleep(1)),
                         ("capctl measure", lambda: t.run(harness.CAPCTL, "measure", "-J", pid, check=0)),
                         ("the count by one thread", lambda: t.run(bench, "one", "1", pid, check=0)),
                         ("smaps_rollup", lambda: rollup(pid))):
        felt[what] = Feeling(victim, action, seconds)
        felt[what].show(what)
    victim.end()
    return felt["capctl measure"].worst, felt["smaps_rollup"].worst


def paged_out(t, harness, mib, kind):
    """By capd, and by one call over all."""
    if kind == "anon":
        t.swapfile(mib * 3 // 2)
    exe = t.executable_copy("victim")
    victim = t.workload("victim", kind, mib, *([f"{t.tmp}/file"] if kind == "file" else []), executable=exe)
    key = "RssFile" if kind == "file" else "RssAnon"
    print(f"What a process of {mib} MiB feels while it is paged out: " + ("clean file pages" if kind == "file" else "anonymous memory, to a swap file"))

    def by_capd():
        d = t.daemon(f"[Daemon]\nSampleInterval=1s\n[Group g]\nExe={exe}\nCap=16M\nProcessFloor=0\n", name=f"pages-{kind}")
        t.wait(lambda: harness.vm(victim.pid)[key] < 40 << 20, "the victim to be paged out", 120)
        d.stop()

    felt = []
    for what, action in (("capd", by_capd),
                         ("one process_madvise call over all",
                          lambda: madvise_all(harness, victim.pid, victim.truth["address"], mib << 20))):
        victim.ask("touch", 300)
        felt.append(Feeling(victim, action, 0))
        felt[-1].show(what)
    left = harness.vm(victim.pid)[key] >> 20
    print(f"  left: {left} MiB")
    victim.end()
    return felt[0].worst, felt[1].worst
