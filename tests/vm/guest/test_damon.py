# SPDX-License-Identifier: MIT
"""DAMON's physical page-out over exactly the frames that a group shares inside, by capd's code and without the daemon.

Who is there is known by construction (damon-target): a family that shares memory, and a stranger whose frames alternate
with the family's, one by one.
"""
import os
import re
import struct
import subprocess
import time

import harness
from guest import drop_caches
from harness import MIB, PAGE, read

HERE = os.path.dirname(harness.WORKLOAD)
DRIVER = os.path.join(HERE, "damon-driver")
TARGET = os.path.join(HERE, "damon-target")
ADMIN = "/sys/kernel/mm/damon/admin/kdamonds"


def needs_damon(t):
    t.need(os.path.exists(f"{ADMIN}/nr_kdamonds"), "this kernel has no DAMON")


def target(t, *arguments):
    return harness.Process(t, [TARGET, *map(str, arguments)]).ready()


def drive(t, *arguments, check=0):
    """Runs the driver: what it says, as a dictionary."""
    done = t.run(DRIVER, "--runtime", t.tmp, *map(str, arguments), check=check, timeout=120)
    said = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    return {k: int(v) if re.fullmatch(r"\d+", v) else v for k, v in said.items()}


def present(pids, address, length):
    """Bytes of a range that at least one process maps: entries of /proc/PID/pagemap."""
    found = bytearray(length // PAGE)
    for pid in pids:
        with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as f:
            entries = os.pread(f.fileno(), length // PAGE * 8, address // PAGE * 8)
        for i, (entry,) in enumerate(struct.iter_unpack("<Q", entries)):
            found[i] |= entry >> 63
    return sum(found) * PAGE


def majors(pid):
    """Major faults of a process: what it had to be given back."""
    return int(read(f"/proc/{pid}/stat").rpartition(")")[2].split()[9])


def left_as_found(t):
    t.equal(read(f"{ADMIN}/nr_kdamonds").strip(), "0", "kdamonds left")
    t.check(not os.path.exists(f"{t.tmp}/damon"), "the record is left")


def intact(t, family, files=False):
    wrong = family.ask("verify", 300)
    t.equal((wrong["family"], wrong["stranger"]), (0, 0), "pages with wrong contents")
    if files:
        t.equal(wrong["file"], 0, "pages of the file with wrong contents")


def test_features(t):
    """Said by --features, with the reason where there is none."""
    said = t.run(harness.CAPD, "--features").stdout
    line = next((x for x in said.splitlines() if x.startswith("damon")), "")
    if os.path.exists(ADMIN):
        t.check(re.match(r"damon +yes ", line), f"damon of a kernel that has it: {line!r}")
    else:
        t.check(re.match(r"damon +no .*(CONFIG_DAMON|No such file)", line), f"damon of a kernel without it: {line!r}")
        t.equal(drive(t, "--features", check=3)["damon"], 0, "damon")


def test_interleaved(t):
    """100 MiB of six processes among 100 MiB of somebody else, one frame here, one there: the one goes, the other stays."""
    needs_damon(t)
    t.zram(400)
    family = target(t, 100, 5)
    truth = family.truth
    before = drive(t, "--count", *family.pids)
    t.check(before["inside"] >= 100 * MIB, f"shared inside: {before['inside']}")
    t.check(before["ranges"] > 20000, f"frames are not interleaved: {before['ranges']} ranges")
    t.equal(present([truth["stranger"]], truth["others"], truth["length"]), 100 * MIB, "of the stranger, before")
    acted = {"cursor": 0}
    # Bounded acts, as the daemon would make them; all in all the group goes.
    for _ in range(6):
        acted = drive(t, "--any", *family.pids)
        left_as_found(t)
        left = present(family.pids, truth["address"], truth["length"])
        t.note(f"{acted['ranges']} ranges, {acted['attempted'] >> 10} KiB attempted, {acted['unmapped'] >> 10} unmapped, "
               f"{acted['freed'] >> 10} freed in {acted['usec'] / 1e6:.1f} s; {left >> 10} left")
        t.check("problem" not in acted, f"{acted.get('problem')}")
        if left < MIB:
            break
    t.check(left < MIB, f"of the group {left >> 10} KiB are left")
    lost = 100 * MIB - present([truth["stranger"]], truth["others"], truth["length"])
    t.note(f"the stranger lost {lost >> 10} KiB")
    t.check(lost <= 16 * 1024, f"the stranger lost {lost >> 10} KiB")
    intact(t, family)


def test_goal(t):
    """Never more than the goal goes."""
    needs_damon(t)
    t.zram(200)
    family = target(t, 64, 5)
    truth = family.truth
    acted = drive(t, "--any", "--goal", 8 * MIB, *family.pids)
    left = present(family.pids, truth["address"], truth["length"])
    t.note(f"{(64 * MIB - left) >> 10} KiB went, {acted['usec'] / 1e6:.1f} s")
    t.check(64 * MIB - left <= 8 * MIB, f"{64 * MIB - left} bytes went")
    t.check(64 * MIB - left >= 7 * MIB, f"only {64 * MIB - left} bytes went")
    t.near(acted["unmapped"], 64 * MIB - left, 256 * 1024, "unmapped")
    left_as_found(t)
    intact(t, family)


def test_hot(t):
    """Half of the memory is used all the time: with a goal of half, the other half goes."""
    needs_damon(t)
    t.zram(200)
    family = target(t, "--hot", 64, 5)
    truth, half = family.truth, family.truth["length"] // 2
    reader = family.pids[1]
    t.wait(lambda: family.ask("rounds")["rounds"] > 5, "the reader to be under way")
    faults, unmapped = majors(reader), 0
    for _ in range(4):
        acted = drive(t, "--goal", half - unmapped, *family.pids)
        unmapped += acted["unmapped"]
        t.note(f"{acted['attempted'] >> 10} KiB attempted, {acted['unmapped'] >> 10} unmapped, "
               f"{acted['left_busy'] >> 10} busy in {acted['usec'] / 1e6:.1f} s")
        if unmapped > half * 9 // 10:
            break
    hot = present(family.pids, truth["address"], half)
    cold = present(family.pids, truth["address"] + half, half)
    back = (majors(reader) - faults) * PAGE
    t.note(f"hot {hot >> 10} KiB, cold {cold >> 10} KiB left; {back >> 10} KiB came back to the reader")
    t.check(cold < half // 10, f"{cold >> 10} KiB of what nobody uses are left")
    t.check(hot >= half * 98 // 100, f"{hot >> 10} KiB of what is used are left")
    t.check(back <= half // 50, f"{back >> 10} KiB of what is used were paged out")
    left_as_found(t)
    # and any page, where asked for
    acted = drive(t, "--any", "--goal", half, *family.pids)
    t.check(acted["unmapped"] > half // 4, f"of the pages in use {acted['unmapped']} went")
    intact(t, family)


def test_in_use(t):
    """Somebody else's: not touched, and said."""
    needs_damon(t)
    t.zram(200)
    family = target(t, 16, 3)

    def put(path, text):
        with open(f"{ADMIN}/{path}", "w", encoding="ascii") as f:
            f.write(text)
    put("nr_kdamonds", "1")
    t.cleanup(put, "nr_kdamonds", "0")
    inode = os.stat(f"{ADMIN}/0").st_ino
    acted = drive(t, *family.pids, check=3)
    t.check("in use" in acted["problem"], f"said: {acted['problem']}")
    t.check("in use" in t.run(harness.CAPD, "--features").stdout, "not said by --features")
    t.equal(drive(t, "--recover")["recovered"], 0, "recovered")
    t.equal(os.stat(f"{ADMIN}/0").st_ino, inode, "the kdamond of somebody else")
    t.equal(read(f"{ADMIN}/0/contexts/nr_contexts").strip(), "0", "contexts of somebody else")
    t.equal(present(family.pids, family.truth["address"], 16 * MIB), 16 * MIB, "what is there")
    # one with a stale record of ours beside it is still somebody else's
    with open(f"{t.tmp}/damon", "w", encoding="ascii") as f:
        f.write(f"{read('/proc/sys/kernel/random/boot_id').strip()} {inode - 1}\n")
    t.equal(drive(t, "--recover")["recovered"], 0, "recovered")
    t.equal(os.stat(f"{ADMIN}/0").st_ino, inode, "the kdamond of somebody else")


def test_rights(t):
    """With the capabilities that the engine keeps and no others: DAMON's files are root's, and root writes them."""
    needs_damon(t)
    t.zram(100)
    family = target(t, 16, 3)
    kept = ("sys_admin", "sys_ptrace", "sys_nice", "fowner", "dac_override", "setuid", "setgid", "kill")
    done = t.run("setpriv", "--inh-caps=-all", "--bounding-set=-all" + "".join(f",+{c}" for c in kept), DRIVER, "--any",
                 "--runtime", t.tmp, *map(str, family.pids), check=0)
    t.check("problem" not in done.stdout, done.stdout)
    left = present(family.pids, family.truth["address"], 16 * MIB)
    t.check(left < MIB, f"{left >> 10} KiB are left")
    left_as_found(t)


def test_module_in_use(t):
    """DAMON_RECLAIM holds DAMON for itself."""
    needs_damon(t)
    enabled = "/sys/module/damon_reclaim/parameters/enabled"
    t.need(os.path.exists(enabled), "this kernel has no DAMON_RECLAIM")
    t.zram(100)
    t.settings(enabled, "Y")
    family = target(t, 16, 3)
    acted = drive(t, *family.pids, check=3)
    t.check("damon_reclaim" in acted["problem"], f"said: {acted['problem']}")
    t.equal(read(f"{ADMIN}/nr_kdamonds").strip(), "0", "kdamonds")


def test_killed(t):
    """kill -9 at any moment of an act: the next start removes what is left, and nothing else."""
    needs_damon(t)
    t.zram(400)
    family = target(t, 64, 5)
    removed = 0
    # before it has begun, and then so many seconds after DAMON has
    for delay in (None, 0, 0.2, 0.5, 1, 2):
        with subprocess.Popen([DRIVER, "--runtime", t.tmp, *map(str, family.pids)], stdout=subprocess.DEVNULL) as child:
            if delay is not None:
                t.wait(lambda: child.poll() is not None or read(f"{ADMIN}/nr_kdamonds").strip() != "0", "DAMON to begin", step=0.01)
                time.sleep(delay)
            child.kill()
        there = read(f"{ADMIN}/nr_kdamonds").strip()
        recorded = os.path.exists(f"{t.tmp}/damon")
        t.check(there == "0" or recorded, "a kdamond without a record")
        got = drive(t, "--recover")["recovered"]
        t.equal(got, int(there), "removed")
        removed += got
        left_as_found(t)
    t.note(f"{removed} of 6 were ended in the middle")
    t.check(removed > 0, "no act was ended in the middle")
    acted = drive(t, "--any", *family.pids)
    t.check("problem" not in acted, f"the next act: {acted.get('problem')}")
    intact(t, family)


def test_without_swap(t):
    """Pages of files go, anonymous ones are not touched."""
    needs_damon(t)
    path = os.path.join(t.tmp, "shared-file")
    drop_caches()
    family = target(t, "--file", path, 32, 32, 5)
    truth = family.truth
    acted = drive(t, "--any", *family.pids)
    left = present(family.pids, truth["file_address"], truth["file_length"])
    t.note(f"of the file {left >> 10} KiB are left; {acted['unmapped'] >> 10} KiB unmapped")
    t.check(left < MIB, f"of the file {left >> 10} KiB are left")
    t.equal(present(family.pids, truth["address"], truth["length"]), 32 * MIB, "anonymous memory")
    t.check(acted["left_no_swap"] >= 32 * MIB, f"left for want of swap: {acted['left_no_swap']}")
    left_as_found(t)
    intact(t, family, files=True)


def test_huge(t):
    """A huge page of which a stranger maps one small page stays whole; the others go whole."""
    needs_damon(t)
    enabled = "/sys/kernel/mm/transparent_hugepage/enabled"
    t.need(os.path.exists(enabled), "no huge pages")
    t.settings(enabled, "madvise")
    t.zram(300)
    family = target(t, "--huge", 32, 5)
    truth = family.truth
    huge = harness.rollup(family.pids[0])["AnonHugePages"]
    t.need(huge >= 16 * MIB, f"only {huge >> 20} MiB of huge pages")
    for _ in range(3):
        acted = drive(t, "--any", *family.pids)
        t.note(f"{acted['partly'] >> 10} KiB in huge pages of a stranger too, {acted['unmapped'] >> 10} KiB unmapped")
    step, lost = 2 * MIB, 0
    for i in range(truth["length"] // step):
        here = present(family.pids, truth["address"] + i * step, step)
        if i % 2:
            lost += step - here
    t.equal(lost, 0, "of the huge pages that a stranger uses too")
    left = present(family.pids, truth["address"], truth["length"])
    t.check(left <= 16 * MIB + (32 * MIB - huge) + 2 * MIB, f"{left >> 10} KiB are left")
    left_as_found(t)
    intact(t, family)


def test_under_churn(t):
    """Memory that comes and goes all the time: frames change their owners during an act, and nobody else loses any."""
    needs_damon(t)
    t.zram(400)
    family = target(t, 48, 5)
    truth = family.truth
    others = [t.workload("churn", 24) for _ in range(2)]
    writer = t.workload("writer", 64, 64, 0)
    faults = majors(writer.pid)
    for _ in range(3):
        drive(t, "--any", *family.pids)
    came_back = (majors(writer.pid) - faults) * PAGE
    left = present(family.pids, truth["address"], truth["length"])
    t.note(f"{left >> 10} KiB are left, {came_back >> 10} KiB were taken from somebody else")
    t.check(left < 4 * MIB, f"of the group {left >> 10} KiB are left")
    t.check(came_back <= 64 * 1024, f"{came_back >> 10} KiB were taken from somebody else")
    t.check(all(o.child.poll() is None for o in others), "somebody ended")
    t.equal(writer.ask("verify", 300)["bad"], 0, "pages of somebody else with wrong contents")
    intact(t, family)
