# SPDX-License-Identifier: MIT
"""What a process feels while it is counted or paged out: how long a thread of it waits that maps, faults in and unmaps."""
import ctypes
import os
import re
import time

import harness
from harness import MIB, read

CGROUPS = "/sys/fs/cgroup"
TRACING = "/sys/kernel/tracing"


class Feeling:
    """What a victim felt while something went on, in microseconds."""

    def __init__(self, victim, what, action, seconds, say):
        victim.ask("mark")
        began = time.monotonic()
        rounds = 0
        while rounds == 0 or (seconds and time.monotonic() - began < seconds):
            action()
            rounds += 1
        took = time.monotonic() - began
        time.sleep(0.05)  # the round that waited for all of it is through by then
        answer = victim.ask("stat")
        self.median, self.p999, self.worst = answer["median"], answer["p999"], answer["worst"]
        self.samples = answer["rounds"]
        say(f"  {what:<48} median {self.median:8.0f} µs   99.9 % {self.p999:8.0f} µs   worst {self.worst:8.0f} µs"
            f"   ({rounds} in {took:.1f} s)")


def held(t, victim, what, action, say):
    """
    Says how long at a time others hold the victim's mmap lock while something goes on, by the kernel's tracepoints, in microseconds. What
    the victim feels is more: that it has to be woken up, and that a thread that holds the lock may lose its processor.
    """
    path = f"{TRACING}/instances/capd-{os.getpid()}"
    try:
        os.mkdir(path)
    except OSError as e:
        say(f"  lock held by {what}: no tracing ({e.strerror})")
        return
    try:
        for name, value in (("buffer_size_kb", 131072 // os.cpu_count()), ("trace_clock", "mono"),
                            ("events/mmap_lock/mmap_lock_acquire_returned/enable", 1),
                            ("events/mmap_lock/mmap_lock_released/enable", 1)):
            t.write(f"{path}/{name}", value)
        tids = {int(x) for x in os.listdir(f"/proc/{victim.pid}/task")}
        action()
        t.write(f"{path}/tracing_on", 0)
        times = sorted(_held_times(f"{path}/trace", tids))
        lost = sum(int(x) for cpu in os.listdir(f"{path}/per_cpu")
                   for x in re.findall(r"overrun: (\d+)", read(f"{path}/per_cpu/{cpu}/stats", "")))
        if lost:
            say(f"  lock held by {what}: {lost} events were lost")
            return
    except OSError as e:
        say(f"  lock held by {what}: no tracing ({e})")
        return
    finally:
        os.rmdir(path)
    if times:
        say(f"  {'lock held by ' + what:<48} median {times[len(times) // 2]:8.0f} µs   99.9 % {times[int(len(times) * 0.999)]:8.0f} µs   "
            f"worst {times[-1]:8.0f} µs   (traced, {len(times)} times)")


def _held_times(path, tids):
    """How long others than these threads held the lock that these took as well, of a trace."""
    line = re.compile(rb".*?-(\d+) +\[\d+\] \S+ +([\d.]+): mmap_lock_(acquire_returned|released): mm=(\w+)")
    events, theirs = [], set()
    with open(path, "rb") as f:
        for text in f:
            m = line.match(text)
            if not m:
                continue
            tid, at, what, mm = int(m[1]), float(m[2]) * 1e6, m[3], m[4]
            if tid in tids:
                theirs.add(mm)
            else:
                events.append((tid, at, what, mm))
    since = {}
    for tid, at, what, mm in events:
        if mm not in theirs:
            continue
        if what == b"released":
            if tid in since:
                yield at - since.pop(tid)
        else:
            since[tid] = at


def rollup(pid):
    with open(f"/proc/{pid}/smaps_rollup", "rb") as f:
        f.read()


def madvise_all(pid, address, length):
    """One process_madvise(MADV_PAGEOUT) over everything: what one would write without thinking of the target."""
    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
    pidfd = os.pidfd_open(pid)
    vector = Vector(address, length)
    try:
        return harness.libc.syscall(440, pidfd, ctypes.byref(vector), ctypes.c_size_t(1), 21, 0)
    finally:
        os.close(pidfd)


def own_cgroup(t):
    """A cgroup in which memory.reclaim works, for the time of the test. None: the host has no such thing."""
    path = f"{CGROUPS}/stalls-{os.getpid()}"
    if "memory" not in read(f"{CGROUPS}/cgroup.subtree_control", "").split():
        return None
    os.mkdir(path)
    t.cleanup(t.wait, lambda: _is_removed(path), f"{path} to be empty", 20)
    return path if os.path.exists(f"{path}/memory.reclaim") else None


def _is_removed(path):
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:  # the last process is just ending
        return False
    return True


def reclaim(cgroup, size):
    """What there is to be had, so that EAGAIN is no failure: it means that not all of it was."""
    try:
        with open(f"{cgroup}/memory.reclaim", "w", encoding="ascii") as f:
            f.write(str(size))
    except BlockingIOError:
        pass


def busy(t, threads):
    """So many programs that want a processor all the time, until the test is over."""
    for _ in range(threads):
        harness.Process(t, ["sh", "-c", "while :; do :; done"])


def counted(t, mib, seconds, bench=None, say=print, crowd=0):
    """
    While it is counted: by capctl; with `bench`, by one thread of it; and by what reads as much; beside a crowd of so many who want the
    processors. What it felt, by name.
    """
    victim = t.workload("victim", "anon", mib)
    pid = str(victim.pid)
    say(f"What a process of {mib} MiB in 4 KiB pages feels while it is counted"
        + (f", and {crowd} others want a processor" if crowd else ""))
    busy(t, crowd)
    actions = {"nothing": lambda: time.sleep(1),
               "capctl measure": lambda: t.run(harness.CAPCTL, "measure", "-J", pid, check=0),
               "smaps_rollup": lambda: rollup(pid)}
    if bench:
        actions["the count by one thread"] = lambda: t.run(bench, "one", "1", pid, check=0)
        # the floor: a thread that loses its processor within the lock keeps it until it is given one again
        actions["the same, which nothing preempts (SCHED_FIFO)"] = lambda: t.run("chrt", "-f", "1", bench, "one", "1", pid,
                                                                                 check=0)
    felt = {what: Feeling(victim, what, action, seconds, say) for what, action in actions.items()}
    for what in ("the count by one thread", "smaps_rollup") if bench else ():
        held(t, victim, what, actions[what], say)
    victim.end()
    return felt


def paged_out(t, mib, kind, bench=None, say=print):
    """
    While it is paged out, clean pages of a file or anonymous memory that has to be written: by capd; with `bench`, by a bare loop of
    calls as short as capd's; by one call over all; and by memory.reclaim of its cgroup, where there is one. What it felt, by name.
    """
    exe = t.executable_copy("victim")
    cgroup = own_cgroup(t)

    def enter():
        with open(f"{cgroup}/cgroup.procs", "w", encoding="ascii") as f:
            f.write("0")

    victim = t.workload("victim", kind, mib, *([f"{t.tmp}/file"] if kind == "file" else []), executable=exe,
                        preexec_fn=enter if cgroup else None)
    key = "RssFile" if kind == "file" else "RssAnon"
    where = [str(x) for x in (victim.pid, victim.truth["address"], mib * MIB)]
    say(f"What a process of {mib} MiB feels while it is paged out: "
        + ("clean file pages" if kind == "file" else "anonymous memory, all of it to be written to swap"))

    def by_capd():
        d = t.daemon(f"[Daemon]\nSampleInterval=1s\n[Group g]\nExe={exe}\nCap=16M\nProcessFloor=0\n", name=f"pages-{kind}")
        t.wait(lambda: harness.vm(victim.pid)[key] < 40 * MIB, "the victim to be paged out")
        d.stop()

    actions = {"nothing": lambda: time.sleep(1), "capd": by_capd}
    if bench:
        actions["a bare loop of process_madvise, short calls"] = lambda: t.run(bench, "short", *where, check=0)
        actions["the same, a page a call"] = lambda: t.run(bench, "page", *where, check=0)
    actions["one process_madvise call over all"] = lambda: madvise_all(victim.pid, victim.truth["address"], mib * MIB)
    if cgroup:
        actions["memory.reclaim of all of it"] = lambda: reclaim(cgroup, mib * MIB)
    felt = {}

    def feel(what, name):
        victim.ask("touch" if kind == "file" else "write", 300)
        felt[name] = Feeling(victim, name, actions[what], 0, say)
        if what != "nothing" and harness.vm(victim.pid)[key] > mib * MIB // 2:
            say(f"    left {harness.vm(victim.pid)[key] >> 20} MiB")

    for what in actions:
        feel(what, what)
    for what in ("capd", "the same, a page a call") if bench else ():
        victim.ask("touch" if kind == "file" else "write", 300)
        held(t, victim, what, actions[what], say)
    if bench and kind == "anon":
        # capd goes to the processor of such a one, and not of one that runs before all others
        victim.ask("ordinary")
        say("  The same of a process that shares its processor with others")
        for what in ("nothing", "capd", "a bare loop of process_madvise, short calls"):
            feel(what, f"{what} (ordinary)")
    if not cgroup:
        say("  memory.reclaim: the host has no memory controller of cgroup v2, or none for cgroups of its root")
    victim.end()
    return felt
