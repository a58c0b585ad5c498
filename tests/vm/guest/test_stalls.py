# SPDX-License-Identifier: MIT
"""What a process feels while it is counted and while it is paged out, beside smaps_rollup and memory.reclaim.

The figures are printed and not judged: under emulation they are many times what they are on a machine. What they come to
there, tests/bench/run prints; memory.reclaim needs cgroup v2, which is certain here.
"""
import stalls

MIB_COUNTED = 256
MIB_PAGED = 96


def judge(t, felt, *names):
    for name in names:
        t.check(name in felt, f"{name} is missing from {list(felt)}")
    for name, f in felt.items():
        t.check(0 < f.median <= f.p999 <= f.worst, f"{name}: median {f.median}, 99.9 % {f.p999}, worst {f.worst} µs")


def test_counted(t):
    judge(t, stalls.counted(t, MIB_COUNTED, 2, say=t.note), "nothing", "capctl measure", "smaps_rollup")


def test_paged_out(t):
    """To zram, by which memory is compressed while the lock is held."""
    t.zram(4 * MIB_PAGED)
    judge(t, stalls.paged_out(t, MIB_PAGED, "anon", say=t.note), "nothing", "capd", "one process_madvise call over all",
          "memory.reclaim of all of it")
