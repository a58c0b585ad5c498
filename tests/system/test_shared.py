# SPDX-License-Identifier: MIT
"""Shared objects, which are read once for a group and not in every process that maps them: the same figures as by reading everything."""
import os

import harness
from harness import MIB

FIGURES = ("processes", "resident", "anon", "file", "shmem", "hugetlb", "swap")


def by_reading_all(t, pids):
    """What others map is only known if every page is looked at."""
    return t.measure(*pids, columns=harness.ALL_COLUMNS)


def compare(t, pids, what):
    """Counts that pass over what is known between two that read everything. The kernel may take a clean page at any time: then again."""
    for _ in range(20):
        before = by_reading_all(t, pids)
        counted = t.measure(*pids)
        after = by_reading_all(t, pids)
        if all(before[k] == after[k] for k in FIGURES):
            break
    else:
        t.skip("the host never leaves the pages alone for the time of three counts")
    for key in FIGURES:
        t.equal(counted[key], before[key], f"{key} {what}")
    t.equal(counted["quality"], "exact", f"quality {what}")


# They keep a guest's processors busy: there it is the other kernel that matters, and less of it will do.
SEEDS, STEPS = (2, 6) if harness.SLOW == 1 else (1, 3)


def test_processes_that_map_parts(t):
    """After every few of their random steps they stand still, and both counts agree to the byte."""
    for seed in range(SEEDS):
        p = t.workload("--seed", seed, "mappers", 8, os.path.join(t.tmp, f"object{seed}"))
        for i in range(STEPS):
            p.ask(f"step {4 + i * 6}")
            compare(t, p.pids, f"after step {i} with seed {seed}")
        p.end()


def test_family_whose_copies_are_strewn(t):
    """Forked processes, which are walked by turns as long as they are much alike, and are less and less so."""
    p = t.workload("family", 48, 12 if harness.SLOW == 1 else 8)
    for i in range(STEPS):
        p.ask("touch")
        compare(t, p.pids, f"after {i} times writing here and there")
        p.ask("scatter")
    p.ask("overwrite 0 4")
    compare(t, p.pids, "after four have overwritten all")
    t.equal(p.ask("verify")["bad"], 0, "pages that are not as written")


def test_processes_that_go_on(t):
    """Meanwhile a count finds at least what they hold all the time, and no more than there can be."""
    p = t.workload("mappers", 8, os.path.join(t.tmp, "object"))
    held, most = p.truth["shmem"], 3 * 64 * MIB
    for i in range(SEEDS):
        p.ask("run")
        for k in range(2):
            counted = t.measure(*p.pids)
            t.equal(counted["quality"], "exact", f"quality of count {k} in round {i}")
            t.equal(counted["processes"], len(p.pids), "processes")
            t.check(counted["shmem"] >= held, f"shmem {counted['shmem']} is less than the {held} that is always there")
            t.check(counted["shmem"] <= 2 * most, f"shmem {counted['shmem']} is more than the objects ever had")
        p.ask("stop")
        compare(t, p.pids, f"after round {i}")


# an emulated guest is slow, and these keep its processors busy
test_processes_that_map_parts.limit = test_processes_that_go_on.limit = 600


def test_segment_of_all(t):
    """All map all of it: it is counted once, and what is mapped is still as much as the kernel says."""
    exe = t.executable_copy("segment")
    p = t.workload("segment", 128, 9, 2, executable=exe)
    compare(t, p.pids, "of a segment")
    counted = t.measure(*p.pids)
    t.equal(counted["shmem"], 128 * MIB, "shmem")
    d = t.daemon("[Daemon]\nSampleInterval=1s\nExactInterval=2s\nCPUBudget=50%\n"
                 f"[Group segment]\nExe={exe}\nCap=1G\nAction=observe\n")
    p.ask("touch")
    g = d.wait_group("segment", lambda g: g["quality"] == "exact" and g["processes"] == 10 and g["shmem"] == 128 * MIB,
                     "an exact count")
    t.near(g["rss_sum"], sum(harness.vm(pid)["VmRSS"] for pid in p.pids), MIB + harness.rss_error(*p.pids), "rss_sum")
