# SPDX-License-Identifier: MIT
"""Groups of processes that share: each page once, however often it is mapped."""
import os
import re
import time

import harness
from harness import MIB, PAGE, meminfo, rollup


def pss_of(pids):
    """The kernel's proportional sizes: over a group that shares with nobody outside they sum up to its memory."""
    return sum(rollup(pid)["Pss"] for pid in pids)


def count_family(t, p):
    """Touches, counts, and compares with the kernel's PSS, which is exact but for rounding by process."""
    t.equal(p.ask("touch")["ok"], True, "touch")
    pss = pss_of(p.pids)
    counted = t.measure(*p.pids)
    t.equal(counted["quality"], "exact", "quality")
    t.equal(counted["processes"], len(p.pids), "processes")
    # PSS is cut to KiB for each process; the kernel may drop a cold page of code in between.
    t.near(counted["resident"], pss, len(p.pids) * 4096 + 64 * PAGE, "resident against the sum of PSS")
    return counted


def free_memory():
    """With what the kernel keeps at hand for each CPU: since Linux 6.7 that may be an eighth of all, and MemFree lacks it."""
    at_hand = sum(int(n) for n in re.findall(r"^\s+count:\s+(\d+)$", harness.read("/proc/zoneinfo"), re.M))
    return meminfo()["MemFree"] + at_hand * PAGE


def test_parent_and_100_children(t):
    """Issue list 1: a parent fills 100 MiB and forks 100 children."""
    exe = t.executable_copy("family")
    free = free_memory()
    p = t.workload("family", 100, 100, executable=exe)
    counted = count_family(t, p)
    t.check(counted["rss_sum"] > 101 * 100 * MIB, f"rss_sum {counted['rss_sum']} is not over 101 times 100 MiB")
    rss = sum(harness.vm(pid)["VmRSS"] for pid in p.pids)
    t.near(counted["rss_sum"], rss, rss // 200, "rss_sum against the sum of VmRSS")
    own = counted["anon"] - p.truth["anon"]
    t.check(0 <= own, f"anon {counted['anon']} is less than what was filled")
    t.near(counted["resident"], pss_of(p.pids), counted["resident"] // 100, "resident within 1 % of the truth")
    # The children's own stacks and data pages, some 50 KiB each, and nothing else come on top.
    t.near(counted["anon"], p.truth["anon"] + 100 * 12 * PAGE, p.truth["anon"] // 10, "anon against what was filled")
    # What the host lost is that and the page tables and tasks of a hundred processes.
    lost = free - free_memory()
    t.note(f"resident {counted['resident'] / MIB:.1f} MiB, rss_sum {counted['rss_sum'] / MIB:.0f} MiB, "
           f"free memory fell by {lost / MIB:.0f} MiB")
    t.check(lost < 1024 * MIB, f"free memory of the host fell by {lost}: far more than the group holds")


def test_family_that_overwrites_what_it_shares(t):
    """Issue list 2: every RSS stays flat, resident grows from 100 to 400 MiB."""
    exe = t.executable_copy("overwriter")
    p = t.workload("family", 100, 3, executable=exe)
    before = count_family(t, p)
    rss_before = {pid: harness.vm(pid)["VmRSS"] for pid in p.pids}
    t.near(before["resident"], 102 * MIB, 4 * MIB, "resident while all is shared")
    for n in range(1, 5):
        p.ask(f"overwrite {4 - n} {5 - n}")
        counted = count_family(t, p)
        # The last one writes into pages that are its own by now.
        t.near(counted["resident"], (102 + 100 * min(n, 3)) * MIB, 4 * MIB, f"resident after {n} of four overwrote it")
    for pid, rss in rss_before.items():
        t.near(harness.vm(pid)["VmRSS"], rss, MIB + harness.rss_error(pid), f"RSS of {pid} stays flat")
    t.near(counted["rss_sum"], before["rss_sum"], MIB + harness.rss_error(*p.pids), "rss_sum stays flat")
    t.equal(p.ask("verify")["bad"], 0, "bad pages")


def test_status_and_explain_show_pages_that_stopped_being_shared(t):
    exe = t.executable_copy("overwriter")
    p = t.workload("family", 100, 3, executable=exe)
    d = t.daemon(f"[Daemon]\nSampleInterval=1s\nExactInterval=2s\nCPUBudget=50%\n[Group family]\nExe={exe}\nCap=1000G\n"
                 f"Action=observe\n")
    first = d.wait_group("family", lambda g: g["quality"] == "exact", "an exact count")
    t.near(first["resident"], 102 * MIB, 4 * MIB, "resident before")
    t.check(first["rss_sum"] > 390 * MIB, f"rss_sum {first['rss_sum']}")
    p.ask("overwrite")
    # A count that had begun before the last of them was done shows less; the next does not.
    after = d.wait_group("family", lambda g: g["resident"] and abs(g["resident"] - 402 * MIB) <= 6 * MIB,
                         "status to show the growth from 102 to 402 MiB")
    t.near(after["rss_sum"], first["rss_sum"], 2 * MIB + harness.rss_error(*p.pids), "rss_sum stays flat")
    text = d.ctl("explain", "family").stdout
    t.check("shared" in text and "stopped" in text, f"explain does not say that pages stopped being shared:\n{text}")


def test_idle_group_that_straddles_its_cap_is_not_counted_again(t):
    """Nothing can have crossed the cap while nobody took a fault; copying on write, with flat RSS, is seen at the next look."""
    exe = t.executable_copy("straddles")
    p = t.workload("family", 100, 3, executable=exe)
    d = t.daemon("[Daemon]\nSampleInterval=200ms\nExactInterval=24h\nCPUBudget=100%\n"
                 f"[Group family]\nExe={exe}\nCap=250M\nAction=observe\n")
    d.wait_state("family", "ok")
    t.check(d.group("family")["rss_sum"] > 390 * MIB, "the sum of RSS does not straddle the cap")

    def idle_for_ten_looks():
        """Its figure is older than ten looks."""
        before, first = time.monotonic(), d.tick()
        t.wait(lambda: d.tick() >= first + 10, "ten looks")
        passed = time.monotonic() - before
        return d.group("family")["age_usec"] >= passed * 1e6
    t.wait(idle_for_ten_looks, "ten looks at an idle group without a count")
    p.ask("overwrite 1 2")  # it has 100 MiB: all of that may be new, and be 200 together with what was counted
    t.wait(idle_for_ten_looks, "ten looks without a count, as one that overwrote cannot have crossed the cap")
    p.ask("overwrite 2 3")
    d.wait_state("family", "observed")
    g = d.group("family")
    # while it was still overwriting, or after that
    t.check(250 * MIB < g["resident"] < 308 * MIB, f"resident {g['resident']} when it was found over its cap")
    t.near(g["rss_sum"], sum(harness.vm(pid)["VmRSS"] for pid in p.pids), 2 * MIB + harness.rss_error(*p.pids), "rss_sum")
    t.wait(idle_for_ten_looks, "ten looks at a group that stays over its cap without a count")


def shared_pair(t, path):
    """Two groups of two, 16 MiB private each, that map one file of 64 MiB. Each group has an executable of its own."""
    t.cleanup(lambda: os.path.exists(path) and os.unlink(path))
    groups = []
    for name in ("left", "right"):
        exe = t.executable_copy(name)
        groups.append([t.workload("member", 16, path, 64, comm=name, executable=exe) for _ in range(2)])
    for p in groups[0] + groups[1]:
        p.ask("touch")
    return groups


def test_two_groups_sharing_a_segment(t):
    """Issue list 3: the segment is in each group once, and private to neither."""
    groups = shared_pair(t, f"/dev/shm/capd-test-{os.getpid()}")
    alone = []
    for group in groups:
        counted = t.measure(*[p.pid for p in group], columns=harness.ALL_COLUMNS)
        alone.append(counted)
        t.equal(counted["shmem"], 64 * MIB, "shmem")
        t.near(counted["anon"], 32 * MIB, MIB, "anon")
        # The kernel's vdso is mapped by every process of the host.
        t.near(counted["shared"], 64 * MIB, 4 * PAGE, "shared: the segment and nothing else")
        t.equal(counted["private"], counted["resident"] - counted["shared"], "private")
        # The segment has four mappings, two of them outside: half of it is in the group's PSS.
        pss = pss_of([p.pid for p in group])
        t.near(counted["private"] + 32 * MIB, pss, MIB, "private and half of the segment, against PSS")
    both = t.measure(*[p.pid for group in groups for p in group], columns=harness.ALL_COLUMNS)
    t.near(both["resident"], alone[0]["resident"] + alone[1]["resident"] - 64 * MIB, 4 * PAGE, "resident of both together")
    t.near(both["shared"], 0, 4 * PAGE, "shared with nobody once both groups are one")


def test_overlapping_groups(t):
    """A process in two groups is counted in both, and one walk serves both."""
    groups = shared_pair(t, f"/dev/shm/capd-test-{os.getpid()}")
    left, right = (f"{t.tmp}/left", f"{t.tmp}/right")
    d = t.daemon("[Daemon]\nSampleInterval=1s\nExactInterval=2s\nCPUBudget=50%\n"
                 f"[Group a]\nExe={left}\nCap=1G\nAction=observe\n"
                 f"[Group b]\nExe={right}\nCap=1G\nAction=observe\n"
                 f"[Group both]\nExe={left} {right}\nCap=1G\nAction=observe\n")

    def exact():
        found = d.groups()
        return found if {"a", "b", "both"} <= set(found) and all(
            g["quality"] == "exact" and g["resident"] and g["shmem"] == 64 * MIB for g in found.values()) else None
    for p in groups[0] + groups[1]:
        p.ask("touch")
    found = t.wait(exact, "exact counts of all three groups")
    for name, pids in (("a", groups[0]), ("b", groups[1]), ("both", groups[0] + groups[1])):
        t.equal(found[name]["processes"], len(pids), f"processes of {name}")
        wanted = 16 * MIB * len(pids) + 64 * MIB
        t.near(found[name]["resident"], wanted, 4 * MIB, f"resident of {name}")
    t.near(found["both"]["resident"], found["a"]["resident"] + found["b"]["resident"] - 64 * MIB, MIB,
           "both against its parts")


def test_what_ps_says_adds_up(t):
    exe = t.executable_copy("family")
    p = t.workload("family", 40, 3, executable=exe)
    d = t.daemon(f"[Daemon]\nSampleInterval=1s\n[Group family]\nExe={exe}\nCap=1G\nAction=observe\n")
    d.wait_group("family", lambda g: g["processes"] == 4, "four processes")
    p.ask("touch")
    processes = harness.json.loads(d.ctl("ps", "-J", "family").stdout)["processes"]
    t.equal(sorted(x["pid"] for x in processes), sorted(p.pids), "processes of ps")
    for x in processes:
        t.near(x["rss"], harness.vm(x["pid"])["VmRSS"], MIB, f"rss of {x['pid']}")


def test_identities_of_explain(t):
    """Each line of the arithmetic holds to the byte."""
    exe = t.executable_copy("family")
    p = t.workload("family", 30, 5, executable=exe)
    d = t.daemon(f"[Daemon]\nSampleInterval=1s\n[Group family]\nExe={exe}\nCap=1G\nAction=observe\n")
    d.wait_group("family", lambda g: g["processes"] == 6, "six processes")
    # Two answers are two counts, and a host may take a clean page between them.
    for _ in range(20):
        p.ask("touch")
        rss = [rollup(pid)["Rss"] for pid in p.pids]
        g = harness.json.loads(d.ctl("explain", "-J", "family").stdout)["groups"][0]
        text = d.ctl("explain", "family").stdout
        if [rollup(pid)["Rss"] for pid in p.pids] == rss:
            break
    t.equal(g["quality"], "exact", "quality")
    t.equal(g["anon"] + g["file"] + g["shmem"], g["resident"], "anon + file + shmem")
    t.equal(g["private"] + g["shared"], g["resident"], "private + shared")
    t.near(g["mapped"], g["rss_sum"], harness.rss_error(*p.pids), "what a count found mapped, against the sum of RSS of a quiet group")
    t.near(g["private"], g["resident"], 4 * PAGE, "private of a group that shares with nobody")
    # The same figures as text: every term is shown in bytes too.
    found = re.search(r" (\d+)  rss_sum", text)
    t.check(found, f"rss_sum is not in the text:\n{text}")
    # the kernel's counters may have caught up in between
    t.near(int(found[1]), g["rss_sum"], harness.rss_error(*p.pids), "rss_sum in the text")
    for key in ("resident", "anon", "file", "shmem", "private", "shared"):
        t.check(f" {g[key]} " in text, f"{key} {g[key]} is not in the text:\n{text}")
    # What the kernel's counters were off by has a line of its own.
    again = g["mapped"] - g["resident"]
    t.check(f" {again} " in text, f"pages counted again, {again}, are not in the text:\n{text}")


def test_host_gets_back_what_private_says(t):
    """`private` is what the host has again after the group ends."""
    exe = t.executable_copy("goes")
    p = t.workload("family", 300, 2, executable=exe)
    p.ask("overwrite 1 2")
    p.ask("touch")
    counted = t.measure(*p.pids, columns=harness.ALL_COLUMNS)
    t.near(counted["private"], 602 * MIB, 8 * MIB, "private")
    before = free_memory()
    p.end()
    t.wait(lambda: all(harness.start_time(pid) is None or harness.state(pid) == "Z" for pid in p.pids), "all to end")
    # Other programs run at the same time.
    t.wait(lambda: abs(free_memory() - before - counted["private"]) < 100 * MIB,
           f"free memory to rise by about {counted['private']} bytes")
