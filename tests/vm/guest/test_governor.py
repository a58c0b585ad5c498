# SPDX-License-Identifier: MIT
"""The governor: caps that cannot be held without harm, hosts without swap, the last resort, and what capd costs by itself.

Judged by the kernel's counters, never by capd's word alone; speed by a process beside the capped one.
"""
import os
import re
import subprocess
import time

import harness
from guest import CGROUPS, cgroup_file, cgroup_number
from harness import MIB, cpu_seconds, read, rollup, start_time, state, vm
from scenario import DAEMON, Bystander, Progress, charged_anon, enter, figures, group, make_cgroup, mib, vmstat


def anon(pid):
    """By a walk: before Linux 6.16 the counters of /proc/PID/status prove nothing to the MiB."""
    return rollup(pid)["Anonymous"]


def file_pages(pid):
    held = rollup(pid)
    return held["Rss"] - held["Anonymous"]


def test_thrashing(t):
    """A working set above the cap: paging is given up before it hurts, and what the group needs is said.

    What it costs is judged by the pages that the kernel counts, bounded by the acts and these by the back-off. The speed of a
    process beside it is printed: on a busy machine it moves by itself.
    """
    size, cap = 48 * MIB, 36 * MIB
    pages = size // harness.PAGE
    t.zram(512)
    bystander = Bystander(t)
    capped, unit = t.unit_workload("loop", size // MIB)
    progress = Progress(t, capped, t.workload("loop", size // MIB))
    progress.wait_passes(2, pages)
    before = progress.ratio()

    capd = t.service(DAEMON + group("g", f"{mib(cap)}M", Unit=unit.name))
    progress.mark()
    seen = capd.wait_state("g", "thrashing")
    t.check("working set" in seen["reason"], f"reason: {seen['reason']!r}")
    # Later it tries again, and again gives up.
    began, first, swapped = time.monotonic(), figures(capd, "g", "ACTS")["acts"], vmstat("pswpin", "pswpout")
    t.wait(lambda: figures(capd, "g", "ACTS")["acts"] > first, "another try", step=0.5)
    wait_pass_without_paging(t, capped, pages)
    seen = capd.wait_state("g", "thrashing")
    paged = [b - a for a, b in zip(swapped, vmstat("pswpin", "pswpout"))]
    acts = figures(capd, "g", "ACTS", "WORKING-SET")
    tries, seconds = acts["acts"] - first, time.monotonic() - began
    t.note(f"throughput, of a process beside it: {before:.2f} before, {progress.ratio():.2f} under the cap "
           f"({mib(cap)} of {mib(size)} MiB); {acts['acts']} acts, {tries} of them in the last {seconds:.0f} s, "
           f"{mib(paged[0] * harness.PAGE)} MiB in, {mib(paged[1] * harness.PAGE)} MiB out")
    # With 10 s, 20 s, 40 s … between them.
    t.check(tries <= 1 + seconds / 10, f"{tries} acts in {seconds:.0f} s of thrashing")
    # None takes more than what is above the low watermark; one may have been under way at the beginning.
    most = (tries + 1) * (size + 2 * MIB - cap * 95 // 100)
    t.check(paged[1] * harness.PAGE <= most, f"{paged[1]} pages were written in {tries} acts")
    # What it has while nothing is paged out, or on the way there.
    t.check(cap < (acts["working_set"] or 0) <= size + 4 * MIB, f"the working set that capd infers: {acts['working_set']}")

    capd.ctl("cap", "g", "400M")
    capd.wait_state("g", "ok")
    wait_pass_without_paging(t, capped, pages)
    t.check(charged_anon(unit.cgroup) > size - 2 * MIB, f"not everything is back: {charged_anon(unit.cgroup)}")
    progress.mark()
    progress.wait_passes(2, pages)
    t.note(f"{progress.ratio():.2f} with the cap raised")
    bystander.judge()
    beside_memory_high(t, unit, progress, cap, before)


def wait_pass_without_paging(t, looping, pages):
    """Until the program has gone over all of its memory, and nobody has paged anything in or out meanwhile."""
    done, paged = looping.ask("stat")["pages"], vmstat("pswpin", "pswpout")

    def look():
        nonlocal done, paged
        now, at = looping.ask("stat")["pages"], vmstat("pswpin", "pswpout")
        if at == paged:
            # the last page may have been under way at the beginning
            return now > done + pages
        done, paged = now, at
        return False
    t.wait(look, "a pass over the memory without paging", step=0.2)


def beside_memory_high(t, unit, progress, cap, before):
    """A benchmark and no judgement: the same program, at the same limit, under MemoryHigh=."""
    progress.mark()
    swapped, began = vmstat("pswpin")[0], time.monotonic()
    # The kernel reclaims before a write returns, for as long as it takes; the service manager would do nothing else meanwhile.
    writer = subprocess.Popen(["sh", "-c", f"echo {cap} >{CGROUPS}{unit.cgroup}/memory.high"])
    t.cleanup(writer.wait)
    t.cleanup(writer.kill)
    t.wait(lambda: cgroup_number(unit.cgroup, "memory.high") == cap, "memory.high")
    time.sleep(10)
    # Under the limit it may not even answer for minutes.
    swapped, seconds = vmstat("pswpin")[0] - swapped, time.monotonic() - began
    writer.kill()
    writer.wait()
    t.write(f"{CGROUPS}{unit.cgroup}/memory.high", "max")
    t.note(f"{progress.ratio():.2f} under MemoryHigh={mib(cap)}M instead of capd ({before:.2f} without any limit), with "
           f"{mib(swapped * harness.PAGE)} MiB in within {seconds:.0f} s")


def test_no_swap(t):
    """Without swap file pages go, the rest is unenforceable and says why, and nobody suffers."""
    t.need_no_swap()
    _, file_unit = t.unit_workload("reader", f"{t.tmp}/file", 100)
    looping, anon_unit = t.unit_workload("loop", 60)
    progress = Progress(t, looping, t.workload("loop", 60))
    progress.wait_passes(2, 60 * MIB // harness.PAGE)
    before = progress.ratio()
    capd = t.service(DAEMON.replace("CPUBudget=50%", "CPUBudget=10%") +
                     group("g", "50M", Unit=f"{file_unit.name} {anon_unit.name}"))
    file_pid, anon_pid = file_unit.pid, anon_unit.pid
    t.check(anon(anon_pid) >= 60 * MIB, "anonymous memory is there")
    t.wait(lambda: file_pages(file_pid) < 10 * MIB, "the file pages to go")
    seen = capd.wait_state("g", "unenforceable")
    t.check("swap" in seen["reason"], f"the reason does not name swap: {seen['reason']!r}")
    t.note(seen["reason"])
    # Nothing is retried in a loop.
    progress.mark()
    began, cpu, acts = time.monotonic(), cpu_seconds(capd.pid()), figures(capd, "g", "ACTS")["acts"]
    faults = vmstat("pgmajfault")[0]
    time.sleep(12)
    used, tries = cpu_seconds(capd.pid()) - cpu, figures(capd, "g", "ACTS")["acts"] - acts
    seconds = time.monotonic() - began
    t.note(f"capd used {used:.2f} s of CPU in {seconds:.0f} s; throughput, of a process beside it: {before:.2f} before, "
           f"{progress.ratio():.2f} after")
    # With 10 s, 20 s, 40 s … between them.
    t.check(tries <= 1 + seconds / 10, f"{tries} acts in {seconds:.0f} s")
    t.check(vmstat("pgmajfault")[0] - faults < 1000, "pages are read again and again")
    t.equal(vm(anon_pid)["VmSwap"], 0, "swap without swap")
    t.check(anon(anon_pid) >= 60 * MIB, "anonymous memory went away without swap")
    capd.wait_state("g", "unenforceable")
    explained = capd.ctl("explain", "g").stdout
    t.check("swap" in explained, f"explain does not tell why: {explained}")


def test_swap_appears(t):
    """zram that is set up while capd runs is used, without a restart or a word to capd."""
    t.need_no_swap()
    process, unit = t.unit_workload("writer", 100, 1, 0)
    bystander = Bystander(t)
    capd = t.service(DAEMON + group("g", "50M", Unit=unit.name))
    capd.wait_state("g", "unenforceable")
    pid, engine = unit.pid, capd.pid()
    t.check(anon(pid) >= 100 * MIB, "memory went away without swap")
    t.zram(256)
    t.wait(lambda: anon(pid) <= 50 * MIB, "the group to come under its cap")
    capd.wait_state("g", "ok")
    t.equal(capd.pid(), engine, "the engine is the same")
    t.equal(process.ask("verify")["bad"], 0, "bad pages")
    bystander.judge()


def alive(pid, start):
    return start_time(pid) == start and state(pid) != "Z"


def seconds_of(entries, *words):
    """When the first message with all these words was written, by the journal; and the message's whole entry."""
    for entry in entries:
        if all(word in str(entry.get("MESSAGE", "")) for word in words):
            return int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6, entry
    raise harness.Failure(f"nothing in the journal has all of {words}")


def judge_last_resort(t, capd, name, gone, after):
    """The process `gone` was killed loudly, and not before it was hopeless for `after` seconds."""
    t.equal(figures(capd, name, "KILLS")["kills"], 1, "kills")
    entries = capd.journal()
    # Whichever came first; a retry between them does not count.
    hopeless, _ = seconds_of([e for e in entries if re.search(r"→ (unenforceable|thrashing):", str(e.get("MESSAGE", "")))],
                             f"Group {name}:")
    killed, entry = seconds_of(entries, f"Group {name}: LastResort=kill", str(gone))
    # A machine that stands still may delay the first entry and not the other, so half of it must do; at once is what is wrong.
    t.check(killed - hopeless >= after / 2, f"killed {killed - hopeless:.1f} s after it was hopeless, not {after}")
    t.equal(entry["PRIORITY"], "3", "priority of the message")
    t.note(entry["MESSAGE"])
    t.check("killed   1 of its processes, by LastResort=kill" in capd.ctl("explain", name).stdout, "explain tells it")


def test_last_resort(t):
    """LastResort=kill: whoever asked for it loses the largest member after that time; who did not loses nobody."""
    t.need_no_swap()
    members = {}
    for name, sizes in (("asked", (60, 30)), ("patient", (60, 30)), ("never", (60, 30))):
        exe = t.executable_copy(name)
        processes = [t.workload("writer", size, 0, 0, executable=exe) for size in sizes]
        members[name] = [(p.pid, start_time(p.pid)) for p in processes]
    bystander = Bystander(t, 96)
    sections = [group(name, "50M", Exe=f"{t.tmp}/{name}", **more) for name, more in (
        ("asked", {"LastResort": "kill", "LastResortAfter": "8s"}),
        ("patient", {"LastResort": "kill", "LastResortAfter": "1h"}),
        ("never", {}))]
    capd = t.service(DAEMON + "".join(sections))
    (largest, start), (other, other_start) = members["asked"]
    t.wait(lambda: not alive(largest, start), "the largest member to be killed")
    capd.wait_state("asked", "ok")
    judge_last_resort(t, capd, "asked", largest, 8)
    t.check(alive(other, other_start), "a smaller member was killed, too")
    for name in ("patient", "never"):
        capd.wait_state(name, "unenforceable")
        t.equal(figures(capd, name, "KILLS")["kills"], 0, f"kills of {name}")
        t.check(all(alive(*member) for member in members[name]), f"a member of {name} was killed")
    t.equal(capd.log().count("LastResort=kill: killed"), 1, "kills in the journal")
    bystander.judge()


def test_last_resort_thrashing(t):
    """Thrashing counts as hopeless as well, tries between included."""
    t.zram(256)
    process, unit = t.unit_workload("loop", 48)
    pid = unit.pid
    start = start_time(pid)
    began = time.monotonic()
    capd = t.service(DAEMON + group("g", "36M", Unit=unit.name))
    capd.wait_state("g", "thrashing")
    t.equal(process.ask("stat")["bad"], 0, "bad pages")
    # How long it takes until that is clear nobody knows before; from then on there is another try before this time is over.
    after = int(time.monotonic() - began) + 25
    capd.reload(DAEMON + group("g", "36M", Unit=unit.name, LastResort="kill", LastResortAfter=f"{after}s"))
    t.wait(lambda: not alive(pid, start), "the process to be killed")
    capd.wait_state("g", "ok")
    judge_last_resort(t, capd, "g", pid, after)


def test_last_resort_cgroup(t):
    """memory.oom.group=1 says that the processes of a cgroup die together; with a stranger among them they do not."""
    t.need_no_swap()
    cases = {}
    for name, with_stranger in (("whole", False), ("mixed", True)):
        exe = t.executable_copy(name)
        cgroup = make_cgroup(t, f"/capd-tests-{name}")
        with open(cgroup_file(cgroup, "memory.oom.group"), "w", encoding="ascii") as f:
            f.write("1")
        inside = [t.workload("writer", size, 0, 0, executable=exe, preexec_fn=enter(cgroup)) for size in (60, 16)]
        outside = t.workload("writer", 30, 0, 0, executable=exe)
        stranger = Bystander(t, preexec_fn=enter(cgroup)) if with_stranger else None
        cases[name] = ([(p.pid, start_time(p.pid)) for p in inside], (outside.pid, start_time(outside.pid)), stranger)
    capd = t.service(DAEMON + "".join(group(name, "50M", Exe=f"{t.tmp}/{name}", LastResort="kill", LastResortAfter="3s")
                                      for name in cases))
    for name in cases:
        capd.wait_state(name, "ok")
    (large, small), outside, _ = cases["whole"]
    t.check(not alive(*large) and not alive(*small), "those of the cgroup died together")
    t.check(alive(*outside), "a member outside of the cgroup was killed")
    t.equal(figures(capd, "whole", "KILLS")["kills"], 2, "kills")
    _, entry = seconds_of(capd.journal(), "Group whole: LastResort=kill", "/capd-tests-whole", str(large[0]))
    t.note(entry["MESSAGE"])
    (large, small), outside, stranger = cases["mixed"]
    t.check(not alive(*large), "the largest was killed")
    t.check(alive(*small) and alive(*outside), "a smaller member was killed, too")
    t.equal(figures(capd, "mixed", "KILLS")["kills"], 1, "kills")
    stranger.judge()


def test_idle(t):
    """What capd costs where nothing happens: 500 processes in 50 groups, with the settings that it has by default."""
    seconds = int(os.environ.get("CAPD_TEST_IDLE_SECONDS", "30"))
    names = [f"idle{i}" for i in range(50)]
    for name in names:
        t.workload("sleepers", 9, comm=name)
    capd = t.service("".join(group(name, "1G", Comm=name) for name in names))
    t.wait(lambda: all(g["state"] == "ok" and g["processes"] == 10 for g in capd.groups().values()), "50 groups of 10")
    engine = capd.pid()
    pids = [engine, *harness.children(engine)]
    t.equal(len(pids), 2, "engine and front")
    members = [pid for pid in filter(str.isdigit, os.listdir("/proc")) if read(f"/proc/{pid}/comm", "").strip() in names]
    t.equal(len(members), 500, "processes of the groups")
    cpu, began, looking = [cpu_seconds(pid) for pid in pids], time.monotonic(), 0.0
    while time.monotonic() < began + seconds:
        # As the machine is while capd is looked at: what it costs this program to look at each of them once.
        before = time.process_time()
        for pid in members:
            read(f"/proc/{pid}/statm")
        looking += time.process_time() - before
        time.sleep(5)
    took = time.monotonic() - began
    used = [cpu_seconds(pid) - before for pid, before in zip(pids, cpu)]
    memory = [rollup(pid) for pid in pids]
    for name, seconds_used, held in zip(("engine", "front"), used, memory):
        t.note(f"{name}: {seconds_used:.3f} s of CPU in {took:.0f} s ({100 * seconds_used / took:.2f}%), "
               f"PSS {held['Pss'] / MIB:.1f} MiB, RSS {held['Rss'] / MIB:.1f} MiB")
    t.equal(capd.pid(), engine, "the engine is the same")
    t.check(sum(m["Pss"] for m in memory) < 32 * MIB, f"capd holds {sum(m['Pss'] for m in memory)} bytes")
    t.note(f"reading statm of all of them every 5 s in Python: {looking:.3f} s of CPU")
    t.check(sum(used) < 5 * looking, f"capd used {sum(used):.2f} s of CPU in {took:.0f} s of idleness, looking costs {looking:.2f} s")


# Five minutes in a guest where CAPD_TEST_IDLE_SECONDS says so; the limit is of seconds that slowness stretches, too.
test_idle.limit = 240 + int(os.environ.get("CAPD_TEST_IDLE_SECONDS", "30"))
