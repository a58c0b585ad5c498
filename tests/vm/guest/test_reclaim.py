# SPDX-License-Identifier: MIT
"""memory.reclaim of the cgroups a group owns, by capd's code and without the daemon.

A family shares what its parent filled, so that process_madvise(2) can move next to none of it; its cgroup holds page cache as
well. What really happened is what `capctl measure` counts, and memory.stat says of the cgroup.
"""
import json
import os
import re
import subprocess

import harness
from guest import CGROUPS, cgroup_file, cgroup_number, cgroup_table, drop_caches
from harness import MIB, read

DRIVER = os.path.join(os.path.dirname(harness.WORKLOAD), "reclaim-driver")
ENDS = ["unfinished", "goal", "short", "time", "cache", "strangers", "gone", "stuck", "failed"]


def drive(t, *arguments, check=0):
    """Runs the driver: what it says, as a dictionary; lines that may come again are lists."""
    done = t.run(DRIVER, *map(str, arguments), check=check, timeout=120)
    said = {"cgroup": [], "act": []}
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        if name in ("cgroup", "act"):
            said[name].append(value)
        else:
            said[name] = int(value) if re.fullmatch(r"-?\d+", value) else value
    if "end" in said:
        said["end"] = ENDS[int(said["end"].split()[0])]
    return said


def resident(t, pids):
    return t.measure(*pids)["resident"]


def fill_cache(t, cgroup, mib, name="cache"):
    """Page cache that nobody maps, charged to a cgroup."""
    path = os.path.join(t.tmp, name)
    with open(path, "wb") as f:
        f.truncate(mib * MIB)
    before = cgroup_table(cgroup, "memory.stat")["file"]
    t.run("sh", "-c", f'echo $$ > "$1/cgroup.procs"; exec cat "$2" >/dev/null', "sh", f"{CGROUPS}{cgroup}", path, check=0)
    held = cgroup_table(cgroup, "memory.stat")["file"] - before
    t.check(held > 0.9 * mib * MIB, f"the page cache of {cgroup} grew by {held}, not by {mib} MiB")


def intact(t, family):
    t.equal(family.ask("verify", 300)["bad"], 0, "pages with wrong contents")


def test_features(t):
    """What the kernel of this release takes."""
    said = drive(t, "--features")
    t.equal((said["cgroup2"], said["memory_reclaim"], said["psi"]), (1, 1, 1), "cgroup2, memory.reclaim, psi")
    kernel = tuple(map(int, os.uname().release.split(".")[:2]))
    t.equal(said["reclaim_swappiness"], int(kernel >= (6, 11)), "swappiness=N")
    t.equal(said["reclaim_anon_only"], int(kernel >= (6, 16)), "swappiness=max")
    shown = t.run(harness.CAPD, "--features").stdout
    for name, there in (("cgroup2", True), ("memory-reclaim", True), ("reclaim-swappiness", kernel >= (6, 11)),
                        ("memory-pressure", True)):
        t.check(re.search(rf"^{name} +{'yes' if there else 'no'} ", shown, re.M), f"{name} in capd --features:\n{shown}")


def test_shared_family(t):
    """20 children sharing 200 MiB, 400 MiB of page cache beside them: under 100 MiB, which process_madvise(2) cannot."""
    t.zram(512)
    drop_caches()
    family, unit = t.unit_workload("family", 200, 20)
    stranger, other = t.unit_workload("family", 60, 2)
    fill_cache(t, unit.cgroup, 400)
    fill_cache(t, other.cgroup, 30, "other")
    t.check(resident(t, family.pids) > 200 * MIB, "200 MiB are resident")
    # the program's own pages are one file's, whichever cgroup they are charged to
    theirs = t.measure(*stranger.pids)["anon"]
    their_cache = cgroup_table(other.cgroup, "memory.stat")["file"]

    said = drive(t, "--madvise", "--goal", 150 * MIB, *family.pids)
    after = resident(t, family.pids)
    t.note(f"process_madvise: {said['unmapped'] / MIB:.1f} MiB unmapped, {after / MIB:.1f} MiB resident")
    t.check(after > 195 * MIB, f"process_madvise cannot bring down what is shared, but {after} are resident")

    said = drive(t, "--owned", *family.pids)
    t.equal(said["cgroup"], [unit.cgroup], "owned cgroups")
    t.equal(said["members_inside"], len(family.pids), "members in them")
    t.near(said["current"], cgroup_number(unit.cgroup, "memory.current"), 8 * MIB, "memory.current")
    t.near(said["unmapped_cache"], 400 * MIB, 20 * MIB, "cache that nobody maps")

    before = cgroup_table(unit.cgroup, "memory.stat")
    said = drive(t, "--goal", resident(t, family.pids) - 90 * MIB, "--acts", 60, *family.pids)
    after = resident(t, family.pids)
    stat = cgroup_table(unit.cgroup, "memory.stat")
    t.note(f"memory.reclaim: {said}")
    t.note(f"resident {after / MIB:.1f} MiB")
    t.equal(said["end"], "goal", "how it ended")
    t.check(after < 100 * MIB, f"{after} bytes are resident")
    t.near(said["unmapped"], before["anon"] + before["file_mapped"] - stat["anon"] - stat["file_mapped"], 16 * MIB, "unmapped")
    t.near(said["cache_taken"], before["file"] - before["file_mapped"] - stat["file"] + stat["file_mapped"], 16 * MIB,
           "page cache taken")
    t.check(said["freed"] >= said["unmapped"] + said["cache_taken"] - 32 * MIB, f"freed {said['freed']}")

    t.near(t.measure(*stranger.pids)["anon"], theirs, MIB, "anonymous memory of the strangers")
    t.near(cgroup_table(other.cgroup, "memory.stat")["file"], their_cache, 2 * MIB, "page cache of the strangers")
    intact(t, family)
    intact(t, stranger)


def test_strangers_in_the_cgroup(t):
    """A single task that is not the group's, from the beginning or in the middle: nothing is written any more."""
    t.zram(256)
    family, unit = t.unit_workload("family", 80, 3)
    stranger, other = t.unit_workload("family", 20, 1)

    said = drive(t, "--owned", *family.pids[:-1])
    t.equal((said["cgroup"], said["owned"]), ([], 0), "owned with one member left out")
    t.check("unknown" in str(said["current"]), "what it does not own it has no figures of")
    before = cgroup_table(unit.cgroup, "memory.stat")["anon"]
    said = drive(t, "--goal", 40 * MIB, "--unknown", family.pids[-1], *family.pids)
    t.equal((said["end"], said["stranger"], said["attempted"]), ("strangers", family.pids[-1], 0), "one that is not known")
    t.near(cgroup_table(unit.cgroup, "memory.stat")["anon"], before, MIB, "nothing was reclaimed")
    said = drive(t, "--goal", 8 * MIB, "--acts", 20, "--by-cgroup", "--unknown", family.pids[-1], *family.pids)
    t.equal(said["end"], "goal", "where the cgroup says who is a member")

    family.ask("touch", 300)
    said = drive(t, "--goal", 60 * MIB, "--acts", 20, "--join", stranger.pids[1], *family.pids)
    t.equal((said["joined"], said["end"], said["stranger"]), (1, "strangers", stranger.pids[1]), "one that comes")
    # on a slow machine they may be of several acts
    writes = sum(int(re.search(r"(\d+) writes", act)[1]) for act in said["act"])
    t.equal(writes, 3, f"writes until it stopped, which it was to do after the third: {said['act']}")
    intact(t, family)
    intact(t, stranger)


def test_no_swap(t):
    """Without swap only pages of files go, and it ends; so it does where the cgroup may not swap."""
    family, unit = t.unit_workload("family", 60, 3)
    fill_cache(t, unit.cgroup, 50)
    said = drive(t, "--goal", 40 * MIB, "--acts", 5, "--no-swap", *family.pids)
    t.note(f"no swap: {said}")
    t.check(said["end"] in ("short", "time"), f"ended by {said['end']}")
    t.check(resident(t, family.pids) > 60 * MIB, "anonymous memory stayed")
    t.check(said["left_no_swap"] > 30 * MIB or said["end"] == "time", f"left for want of swap: {said['left_no_swap']}")
    t.check(cgroup_table(unit.cgroup, "memory.stat")["file"] > 45 * MIB, "page cache is not spent for the little that can go")
    intact(t, family)

    t.zram(256)
    with open(cgroup_file(unit.cgroup, "memory.swap.max"), "w", encoding="ascii") as f:
        f.write("0\n")
    said = drive(t, "--goal", 40 * MIB, "--acts", 5, *family.pids)
    t.note(f"memory.swap.max=0: {said}")
    t.equal((said["end"], said["left_no_swap"]), ("short", 40 * MIB), "how it ended")
    t.check(resident(t, family.pids) > 60 * MIB, "anonymous memory stayed")
    t.check(cgroup_table(unit.cgroup, "memory.stat")["file"] > 45 * MIB, "page cache is not spent where the cgroup may not swap")
    t.equal(cgroup_number(unit.cgroup, "memory.swap.current"), 0, "swapped")
    intact(t, family)


def test_pressure_counts_what_comes_back(t):
    """Refaults, major faults and reads from swap, of pages that are touched after they were reclaimed."""
    t.zram(256)
    family, unit = t.unit_workload("family", 80, 3)
    watch = subprocess.Popen([DRIVER, "--pressure", *map(str, family.pids)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True)
    t.cleanup(lambda: (watch.kill(), watch.wait(), watch.stdin.close(), watch.stdout.close()))

    def look():
        watch.stdin.write("\n")
        watch.stdin.flush()
        return json.loads(watch.stdout.readline())

    first = look()
    t.equal((first["refaults"], first["major_faults"], first["host"]), (0, 0, False), "at the beginning")
    said = drive(t, "--goal", 50 * MIB, "--acts", 30, *family.pids)
    t.equal(said["end"], "goal", "how it ended")
    gone = look()
    family.ask("touch", 300)
    back = look()
    t.note(f"{first} {gone} {back}")
    t.check(back["swap_in"] - gone["swap_in"] > 40 * MIB, "pages read from swap")
    t.check(back["major_faults"] - gone["major_faults"] > 1000, "major faults of the members")
    t.check(back["refaults"] - gone["refaults"] > 20 * MIB, "refaults of the cgroup")
    t.check(back["stalled"] > gone["stalled"], "pressure of the cgroup")


def test_threaded_and_nested(t):
    """Cgroups made by hand: a threaded one is judged by the one above, and the topmost that is owned is found."""
    top = "/capd-tests-owned"
    paths = [top, f"{top}/a", f"{top}/a/threaded", f"{top}/b"]
    with open(f"{CGROUPS}/cgroup.subtree_control", "w", encoding="ascii") as f:
        f.write("+memory\n")
    for path in paths:
        os.mkdir(f"{CGROUPS}{path}")
        t.cleanup(os.rmdir, f"{CGROUPS}{path}")

    def write(path, text):
        with open(f"{CGROUPS}{path}", "w", encoding="ascii") as f:
            f.write(f"{text}\n")

    write(f"{top}/cgroup.subtree_control", "+memory")
    write(f"{top}/a/threaded/cgroup.type", "threaded")
    one, two, stranger = (t.workload("member", 8) for _ in range(3))
    for path, process in ((f"{top}/a", one), (f"{top}/b", two), (f"{top}/b", stranger)):
        write(f"{path}/cgroup.procs", process.pid)
    write(f"{top}/a/threaded/cgroup.threads", one.pid)
    t.equal(read(f"/proc/{one.pid}/cgroup").strip(), f"0::{top}/a/threaded", "where its thread is")

    t.equal(drive(t, "--owned", one.pid, two.pid)["cgroup"], [f"{top}/a"], "with a stranger in the other")
    t.equal(drive(t, "--owned", one.pid, two.pid, stranger.pid)["cgroup"], [top], "all of them")
    stranger.end()
    t.equal(drive(t, "--owned", one.pid, two.pid)["cgroup"], [top], "the stranger is gone")
    t.equal(drive(t, "--owned", two.pid)["cgroup"], [f"{top}/b"], "one of two")
    t.equal(drive(t, "--owned", os.getpid())["owned"], 0, "what the tests run in holds others, too")
    one.end()
    two.end()
