# SPDX-License-Identifier: MIT
"""Estimates from a sample, against the exact count of the same processes."""
import harness
from harness import MIB

RUNS = 20


def check_coverage(t, what, *processes):
    """The truth is within the stated error, as often as that promises; each estimate reads another sample."""
    pids = [pid for p in processes for pid in p.pids]
    for p in processes:
        t.equal(p.ask("touch")["ok"], True, "touch")
    before = t.measure(*pids)
    estimates = [t.measure("--estimate", *pids) for _ in range(RUNS)]
    after = t.measure(*pids)
    for e in estimates:
        t.equal(e["quality"], "estimate", "quality")
        t.equal(e["resident"], e["anon"] + e["file"] + e["shmem"], "the parts' sum")
        t.check(0 < e["error_bytes"] <= e["rss_sum"] + MIB, f"error {e['error_bytes']}")
    low, high = sorted((before["resident"], after["resident"]))
    inside = sum(low - e["error_bytes"] <= e["resident"] <= high + e["error_bytes"] for e in estimates)
    worst = max(max(low - e["resident"], e["resident"] - high) for e in estimates)
    stated = sorted(e["error_bytes"] for e in estimates)[RUNS // 2]
    t.note(f"{what}: {after['resident'] / MIB:.0f} MiB, error {stated / MIB:.1f} MiB, seen {worst / MIB:.1f} MiB, "
           f"{inside} of {RUNS} inside")
    t.equal((before["quality"], before["error_bytes"]), ("exact", 0), "the count")
    # of 20 with 95 in 100 each, fewer than 15 in one of 300,000 runs
    t.check(inside >= 15, f"{what}: {inside} of {RUNS} estimates have the truth inside their error")


def test_families_and_segments(t):
    shared = t.workload("family", 100, 4)
    check_coverage(t, "family", shared)
    shared.ask("overwrite 1 3")
    check_coverage(t, "family of which two have copied everything", shared)
    segment = t.workload("segment", 100, 3, 20)
    check_coverage(t, "segment", segment)
    check_coverage(t, "both", shared, segment)


def test_private_memory_and_files(t):
    private = t.workload("private", 200)
    check_coverage(t, "private", private)
    path = f"{t.tmp}/file"
    files = [t.workload("member", 16, path, 60) for _ in range(3)]
    check_coverage(t, "file", *files)
    check_coverage(t, "both", private, *files)
    check_coverage(t, "huge pages", t.workload("thp"))


def test_many_small_processes(t):
    """Nearly all of each is its program's: mappings that are read whole."""
    check_coverage(t, "programs", *[t.workload("member", 2) for _ in range(15)])


def test_what_cannot_be_combined(t):
    done = t.capctl("measure", "--estimate", "--private", "1", check=2)
    t.check("exclude each other" in done.stderr, done.stderr)


def test_large_group_is_estimated_between_counts(t):
    """By its budget it could be counted every few seconds only; an estimate that is clear decides, and is shown as one."""
    exe = t.executable_copy("large")
    p = t.workload("family", 120, 3, executable=exe)
    d = t.daemon("[Daemon]\nSampleInterval=100ms\nExactInterval=24h\nCPUBudget=0.1%\n"
                 f"[Group large]\nExe={exe}\nCap=300M\nAction=observe\n")
    d.wait_group("large", lambda g: g["quality"] == "exact" and g["state"] == "ok", "an exact count")
    p.ask("overwrite 0 2")  # what they can have mapped reaches the cap, as they wrote to 240 MiB
    p.ask("overwrite 0 4")
    # the first one may be of a moment before all is written
    g = d.wait_group("large", lambda g: g["quality"] == "estimate" and g["state"] == "observed" and
                     abs(g["resident"] - 482 * MIB) <= g["error_bytes"] + 100 * MIB, "an estimate over the cap, of 482 MiB")
    t.check(g["error_bytes"] > 0, "no error is stated")
    line = d.ctl("status", "large").stdout.splitlines()[1]
    t.check("~" in line, f"status does not show an estimate as one: {line}")
    t.check(harness.vm(p.pids[0])["VmRSS"] > 110 * MIB, "something was paged out")
