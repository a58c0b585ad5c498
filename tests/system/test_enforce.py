# SPDX-License-Identifier: MIT
"""Caps that bite, and caps that must not.

What a group holds is judged by the kernel's counters, never by capd's own word. The host may page out cold memory by
itself as soon as there is swap, so whatever must stay in memory is touched all the time, and every test that acts
keeps a process outside the group.
"""
import time

import harness
from harness import MIB, cpu_seconds, rollup, start_time, state, vm


def config(exe, cap, more="", daemon=""):
    return (f"[Daemon]\nSampleInterval=1s\nScanInterval=2s\nExactInterval=2s\nCPUBudget=50%\n{daemon}\n"
            f"[Group g]\nExe={exe}\nCap={cap}\n{more}\n")


def held(processes):
    """Resident bytes of processes whose memory is their own: the anonymous part, and the code they share once.

    From a walk of their pages: before Linux 6.16 the counters of /proc/PID/status are off by some hundred KiB.
    """
    walks = [rollup(p.pid) for p in processes]
    return sum(w["Anonymous"] for w in walks) + max(w["Rss"] - w["Anonymous"] for w in walks)


class Outsider:
    """A process of no group that writes all of its 64 MiB all the time."""

    def __init__(self, t):
        self.t = t
        self.process = t.workload("writer", 64, 64, 0, comm="outsider", executable=t.executable_copy("outsider"))
        self.start = start_time(self.process.pid)

    def judge(self):
        pid = self.process.pid
        self.t.equal(start_time(pid), self.start, "the process outside the group is the same")
        self.t.check(vm(pid)["RssAnon"] > 60 * MIB, f"memory was taken from outside the group: {vm(pid)}")
        self.t.equal(self.process.ask("verify")["bad"], 0, "bad pages outside the group")


def watch(t, seconds, step, look):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        look()
        time.sleep(step)


def test_three_writers_under_a_cap(t):
    """Issue list 5: 3 processes of 300 MiB, cap 400 MiB, swap on a file, kept for a minute, contents verified."""
    t.swapfile(1536)
    exe = t.executable_copy("writing")
    outsider = Outsider(t)
    writers = [t.workload("--seed", 100 + i, "writer", 300, 30, 20, comm="writing", executable=exe) for i in range(3)]
    starts = [start_time(p.pid) for p in writers]
    before = [p.ask("stat")["rounds"] for p in writers]
    cap = 400 * MIB
    d = t.daemon(config(exe, "400M"))
    began = time.monotonic()
    t.wait(lambda: held(writers) <= cap, "the group to come under its cap")
    t.note(f"under the cap after {time.monotonic() - began:.1f} s")
    samples, swap = [], harness.swaps()

    def look():
        t.need(harness.swaps() == swap, "somebody else added or removed swap meanwhile")
        samples.append(held(writers))
        for p, start in zip(writers, starts):
            t.equal(start_time(p.pid), start, "the process is the same")
            t.check(state(p.pid) not in "TtZX", f"state of {p.pid}: {state(p.pid)}")
    watch(t, 60, 0.25, look)
    over = [s for s in samples if s > cap]
    t.note(f"held over a minute: {min(samples) / MIB:.0f} to {max(samples) / MIB:.0f} MiB, "
           f"{len(over)} of {len(samples)} looks above the cap")
    # Between two looks the writers' random reads bring back a few MiB at most.
    t.check(max(samples) < cap + 24 * MIB, f"the group went up to {max(samples)} again")
    t.check(len(over) <= len(samples) // 4, f"{len(over)} of {len(samples)} looks above the cap")
    group = d.group("g")
    t.check(group["state"] in ("ok", "enforcing", "over"), f"state {group['state']}: {group.get('reason')}")
    for p, rounds in zip(writers, before):
        answer = p.ask("verify", timeout=300)
        t.equal(answer["bad"], 0, "bad pages")
        t.check(answer["rounds"] > rounds + 100, f"{p.pid} did not go on working: {rounds} to {answer['rounds']} rounds")
    outsider.judge()
    t.equal(d.stop(), 0, "exit status of capd")


test_three_writers_under_a_cap.limit = 600


def test_without_swap(t):
    """Issue list 6: unenforceable, with the reason, and no CPU burnt."""
    t.need_no_swap()
    exe = t.executable_copy("writing")
    writers = [t.workload("writer", 100, 10, 0, executable=exe) for _ in range(2)]
    d = t.daemon(config(exe, "100M"))
    group = d.wait_state("g", "unenforceable")
    t.check("swap" in group["reason"], f"the reason does not name swap: {group['reason']!r}")
    began, cpu = time.monotonic(), cpu_seconds(d.pid)
    time.sleep(15)
    used = cpu_seconds(d.pid) - cpu
    window = time.monotonic() - began
    t.note(f"{used:.3f} s of CPU in {window:.0f} s")
    t.check(used < 0.1 * window * harness.SLOW, f"{used:.2f} s of CPU in {window:.0f} s for a group that cannot come down")
    t.need_no_swap()
    d.wait_state("g", "unenforceable")
    t.check(held(writers) > 195 * MIB, "memory went away without swap")
    for p in writers:
        t.equal(p.ask("verify")["bad"], 0, "bad pages")


def test_file_pages_without_swap(t):
    """Clean file pages can be dropped without any swap."""
    t.need_no_swap()
    exe = t.executable_copy("reading")
    p = t.workload("reader", f"{t.tmp}/file", 200, executable=exe)
    t.check(vm(p.pid)["RssFile"] > 190 * MIB, "the file is mapped")
    d = t.daemon(config(exe, "100M"))
    t.wait(lambda: vm(p.pid)["VmRSS"] <= 100 * MIB, "the file pages to go")
    d.wait_state("g", "ok")


def test_observe_never_acts(t):
    t.swapfile(256)
    exe = t.executable_copy("writing")
    p = t.workload("writer", 96, 96, 0, executable=exe)
    for name, more, arguments in (("observe", "Action=observe", ()), ("dry-run", "", ("--dry-run",))):
        d = t.daemon(config(exe, "48M", more), *arguments, name=name)
        group = d.wait_state("g", "observed")
        t.check(group["resident"] > 90 * MIB, f"{name}: resident {group['resident']}")
        watch(t, 4, 0.2, lambda: t.check(vm(p.pid)["RssAnon"] > 92 * MIB, f"{name}: memory was taken: {vm(p.pid)}"))
        t.equal(d.group("g")["state"], "observed", f"{name}: state later")
        t.equal(d.stop(), 0, "exit status")


def idle_member(t, mib, **options):
    """Private memory that stays where it is only because the test keeps touching it."""
    exe = t.executable_copy("member")
    return exe, t.workload("member", mib, executable=exe, **options)


def stays(t, p, floor, seconds, what):
    def look():
        p.ask("touch")
        t.check(vm(p.pid)["RssAnon"] >= floor, f"{what}: only {vm(p.pid)['RssAnon']} bytes are left")
    watch(t, seconds, 0.3, look)


def test_pause_and_resume(t):
    t.swapfile(512)
    exe, p = idle_member(t, 200)
    d = t.daemon(config(exe, "1G"))
    d.wait_state("g", "ok")
    d.ctl("pause")
    d.ctl("cap", "g", "100M")
    d.wait_state("g", "paused")
    stays(t, p, 195 * MIB, 4, "paused")
    d.ctl("resume")
    t.wait(lambda: held([p]) <= 100 * MIB, "the group to come under its cap after resume")
    # The same for one group by name.
    d.ctl("pause", "g")
    d.wait_state("g", "paused")
    p.ask("touch")
    stays(t, p, 195 * MIB, 3, "paused by name")
    d.ctl("resume", "g")
    t.wait(lambda: held([p]) <= 100 * MIB, "the group to come under its cap after resume by name")
    d.ctl("pause", "no-such-group", check=1)


def test_temporary_cap(t):
    exe, p = idle_member(t, 20)
    d = t.daemon(config(exe, "800M", "Action=observe"))
    d.wait_state("g", "ok")
    d.ctl("cap", "g", "10M", "--for", "1h")
    d.wait_group("g", lambda g: g["cap"] == 10 * MIB, "the temporary cap")
    d.wait_state("g", "observed")
    d.ctl("cap", "g", "11M", "--for", "1s")
    d.wait_group("g", lambda g: g["cap"] == 800 * MIB, "the temporary cap to end")
    d.ctl("cap", "g", "16M")
    d.wait_group("g", lambda g: g["cap"] == 16 * MIB, "the new cap")
    d.ctl("cap", "g", "default")
    d.wait_group("g", lambda g: g["cap"] == 800 * MIB, "the configured cap")
    d.ctl("cap", "g", "12 potatoes", check=2)
    d.ctl("cap", "nobody", "12M", check=1)


def test_low_watermark(t):
    t.swapfile(512)
    exe, p = idle_member(t, 300)
    d = t.daemon(config(exe, "200M", "LowWatermark=50%"))
    t.wait(lambda: held([p]) <= 100 * MIB, "the group to come down to its low watermark")
    d.wait_state("g", "ok")
    p.ask("touch")


def test_process_floor(t):
    t.swapfile(512)
    exe = t.executable_copy("member")
    large = t.workload("member", 200, executable=exe)
    small = [t.workload("member", 20, executable=exe) for _ in range(2)]
    t.daemon(config(exe, "100M", "ProcessFloor=50M"))

    def look():
        for p in small:
            p.ask("touch")
            t.check(vm(p.pid)["VmSwap"] < 2 * MIB, f"a process below the floor was paged out: {vm(p.pid)['VmSwap']}")
        return held([large, *small]) <= 100 * MIB
    t.wait(look, "the group to come under its cap")


def test_protected_process(t):
    t.swapfile(512)
    exe, p = idle_member(t, 200)
    guarded = t.workload("member", 100, comm="guarded", executable=exe)
    d = t.daemon(config(exe, "150M", daemon="Protect=Comm=guarded"))

    def look():
        guarded.ask("touch")
        t.check(vm(guarded.pid)["VmSwap"] < 2 * MIB, f"a protected process was paged out: {vm(guarded.pid)['VmSwap']}")
        return held([p, guarded]) <= 150 * MIB
    t.wait(look, "the group to come under its cap")
    t.equal(d.group("g")["processes"], 2, "a protected process is counted")


def test_pressure_threshold(t):
    """The cap bites only when the host is short of memory: here it is not."""
    t.swapfile(512)
    exe, p = idle_member(t, 200)
    d = t.daemon(config(exe, "100M", daemon="PressureThreshold=99%"))
    d.wait_state("g", "over")
    stays(t, p, 195 * MIB, 4, "no pressure")
    d.write_config(config(exe, "100M", daemon="PressureThreshold=0%"))
    d.ctl("reload")
    t.wait(lambda: held([p]) <= 100 * MIB, "the cap to bite without a threshold")


def test_reclaim_rate(t):
    """200 MiB too much at 20 MiB a second take ten seconds. However late anybody looks, what went did not go faster."""
    t.swapfile(512)
    exe, p = idle_member(t, 300)
    t.daemon(config(exe, "100M", "ReclaimRate=20M"))
    t.wait(lambda: held([p]) < 290 * MIB, "the first act")
    began, first = time.monotonic(), held([p])
    t.wait(lambda: held([p]) <= 110 * MIB, "the group to come down", step=0.02)
    went, seconds = first - held([p]), time.monotonic() - began
    t.note(f"{went / MIB:.0f} MiB in {seconds:.1f} s")
    # and what comes together between two looks, which are a second apart
    t.check(went < (seconds + 1.5) * 20 * MIB, f"{went} bytes were paged out in {seconds:.1f} s: the rate was not kept")


def shared_once(p):
    """Anonymous bytes of a fork family, each page once: the kernel's walks of its processes, by their shares, added up."""
    return sum(rollup(pid)["Pss_Anon"] for pid in p.pids)


def test_memory_shared_by_a_family(t):
    """process_madvise(2) skips pages mapped more than once, whatever it returns. Where DAMON is free they go by frame; elsewhere
    it is said that they do not."""
    t.swapfile(512)
    exe = t.executable_copy("family")
    outsider = Outsider(t)
    p = t.workload("family", 100, 4, executable=exe)
    d = t.daemon(config(exe, "50M"))
    if harness.damon_is_free():
        t.wait(lambda: shared_once(p) <= 50 * MIB, "the family to come under its cap")
        d.wait_state("g", "ok")
    else:
        p.ask("touch")
        group = d.wait_state("g", "unenforceable", "ok")
        t.need(group["state"] == "unenforceable", "the host paged the group out by itself")
        t.check("shared" in group["reason"] or "mapped" in group["reason"], f"reason: {group['reason']!r}")
        t.check("DAMON" in group["reason"], f"the reason does not tell why it is not done by frame: {group['reason']!r}")
    t.equal(p.ask("verify")["bad"], 0, "bad pages")
    outsider.judge()


def test_cap_below_the_working_set(t):
    """What is paged out comes straight back: capd says thrashing and backs off, the process goes on."""
    t.swapfile(512)
    exe = t.executable_copy("writing")
    p = t.workload("writer", 128, 128, 0, executable=exe)
    d = t.daemon(config(exe, "64M"))
    group = d.wait_state("g", "thrashing")
    t.check(group["reason"], "a reason is given")
    rounds = p.ask("stat")["rounds"]
    answer = p.ask("verify")
    t.equal(answer["bad"], 0, "bad pages")
    t.wait(lambda: p.ask("stat")["rounds"] > rounds + 20, "the process to go on")


def test_enforce_now(t):
    """capctl enforce acts whatever back-off says, and is refused where nothing is to be done."""
    t.swapfile(512)
    exe, p = idle_member(t, 200)
    others = "".join(f"[Group {action}]\nUid=60000\nCap=1G\nAction={action}\n" for action in ("move", "observe"))
    d = t.daemon(config(exe, "100M") + others)
    t.wait(lambda: held([p]) <= 100 * MIB, "the group to come under its cap")
    p.ask("touch")
    d.ctl("enforce", "g")
    t.wait(lambda: held([p]) <= 100 * MIB, "the group to come under its cap again")
    d.ctl("enforce", "no-such-group", check=1)
    t.check("nothing to do" in d.ctl("enforce", "move", check=0).stdout, "a group that is under its cap")
    t.check("observe" in d.ctl("enforce", "observe", check=1).stderr, "why an observed group is left alone")


def test_number_reused_by_another_process(t):
    """A process that ended does not hand its place in a group to whoever gets its number."""
    last = "/proc/sys/kernel/ns_last_pid"
    t.need(harness.os.path.exists(last), "the kernel does not let anybody choose process numbers")
    t.swapfile(256)
    exe, first = idle_member(t, 60)
    d = t.daemon(config(exe, "1G"))
    d.wait_group("g", lambda g: g["processes"] == 1, "one process")
    other = t.executable_copy("another")
    pid = first.pid
    first.end()
    for _ in range(50):
        with open(last, "w", encoding="ascii") as f:
            f.write(str(pid - 1))
        second = t.workload("writer", 90, 90, 0, executable=other)
        if second.pid == pid:
            break
        second.end()
    t.need(second.pid == pid, "the number went to somebody else")
    d.ctl("cap", "g", "10M")
    d.wait_group("g", lambda g: g["processes"] == 0, "the group to be empty")
    watch(t, 4, 0.2, lambda: t.check(vm(pid)["RssAnon"] > 85 * MIB, "the wrong process was paged out"))
