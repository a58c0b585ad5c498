# SPDX-License-Identifier: MIT
"""Every rule of counting, on a process that holds one kind of memory alone.

The truth is known three times over: from the program (what it built), from the kernel's counters (VmRSS) and from the
kernel's own walk (smaps_rollup). All three must agree with the count to the byte.
"""
import os
import resource
import threading

import harness
from harness import MIB, PAGE, frame_flags, rollup, vm

# Kernels 6.2 to 6.15 show RSS with an error of some pages; older ones keep a few in each thread.
RSS_IS_EXACT = harness.kernel() >= (6, 16)


def count_rule(t, scenario, *arguments, prepare=None):
    """Counts a process before and after it builds the scenario. Returns (process, counted before, counted after)."""
    p = t.workload(scenario, *arguments, pin=True)
    counted_before = t.measure(p.pid)
    kernel_before, twice = rollup(p.pid)["Rss"], harness.mapped_twice(p.pid)
    p.go()
    if prepare:
        prepare(p)
    truth = p.truth
    mapped = truth["anon"] + truth["file"] + truth["shmem"] + truth["again"]
    # A host may drop cold file pages at any time: touch them, and believe a count only if the kernel held on to all
    # of them meanwhile.
    for _ in range(20):
        p.ask("touch")
        rss, walked = vm(p.pid)["VmRSS"], rollup(p.pid)["Rss"]
        counted = t.measure(p.pid)
        if rollup(p.pid)["Rss"] == walked == kernel_before + mapped:
            break
    t.equal(walked - kernel_before, mapped, "the kernel's own walk and the program's knowledge")
    for key in ("anon", "file", "shmem", "hugetlb"):
        t.equal(counted[key] - counted_before[key], truth[key], key)
    t.equal(counted["resident"] - counted_before["resident"], mapped - truth["again"], "resident")
    t.equal(counted["resident"], counted["anon"] + counted["file"] + counted["shmem"], "the parts of resident")
    t.equal(counted["resident"] + truth["again"] + twice, walked, "resident and what is mapped again, against smaps_rollup")
    t.equal(counted["quality"], "exact", "quality")
    t.equal(counted["processes"], 1, "processes")
    if RSS_IS_EXACT:
        t.equal(counted["resident"] + truth["again"] + twice, rss, "resident and what is mapped again, against VmRSS")
        t.equal(counted["rss_sum"], rss, "rss_sum")
    return p, counted_before, counted


def test_nothing(t):
    """The program itself: code, stack, vdso and vvar as VmRSS treats them."""
    count_rule(t, "nothing")


def test_zero_page(t):
    p, _, _ = count_rule(t, "zero-page")
    flags = frame_flags(p.pid, p.truth["address"])
    t.check(flags is not None and flags >> harness.KPF_ZERO_PAGE & 1, f"no zero page there (flags {flags})")


def need_thp(t):
    enabled = harness.read("/sys/kernel/mm/transparent_hugepage/enabled", "[never]")
    t.need("[never]" not in enabled, "transparent huge pages are off")


def test_huge_zero_page(t):
    need_thp(t)
    t.need(harness.read("/sys/kernel/mm/transparent_hugepage/use_zero_page", "0").strip() == "1",
           "the huge zero page is off")
    p, _, _ = count_rule(t, "huge-zero-page")
    flags = frame_flags(p.pid, p.truth["address"])
    t.need(flags is not None and flags >> harness.KPF_THP & 1, f"no huge zero page was to be had (flags {flags})")
    t.check(flags >> harness.KPF_ZERO_PAGE & 1, f"flags of the huge zero page: {flags:#x}")


def need_huge(t, p):
    t.need(rollup(p.pid)["AnonHugePages"] > 0, "the kernel gave no huge page")


def test_thp_whole(t):
    need_thp(t)
    p, _, _ = count_rule(t, "thp")
    need_huge(t, p)


def test_thp_partly_unmapped(t):
    need_thp(t)
    p, _, _ = count_rule(t, "thp-partly-unmapped")
    need_huge(t, p)


def test_guard_region(t):
    t.need(harness.kernel() >= (6, 13), "guard regions need Linux 6.13")
    _, before, counted = count_rule(t, "guard")
    t.equal(counted["swap"], before["swap"], "swap: guard markers are not swapped pages")


def ksm_on(t):
    base = "/sys/kernel/mm/ksm/"
    t.need(os.path.exists(base + "run"), "the kernel has no KSM")
    if os.path.exists(base + "smart_scan"):
        t.settings(base + "smart_scan", 0)
    if os.path.exists(base + "advisor_mode"):
        t.settings(base + "advisor_mode", "none")
    t.settings(base + "pages_to_scan", 20000)
    t.settings(base + "sleep_millisecs", 5)
    t.settings(base + "run", 1)


def ksm_wait(t, p):
    def merged():
        pages = harness.read(f"/proc/{p.pid}/ksm_merging_pages", "none").strip()
        t.need(pages != "none", "the kernel does not tell which pages are merged")
        return int(pages) == p.truth["length"] // PAGE
    t.wait(merged, "KSM to merge the pages")


def test_ksm_in_one_process(t):
    ksm_on(t)
    p, _, _ = count_rule(t, "ksm", prepare=lambda p: ksm_wait(t, p))
    t.check(frame_flags(p.pid, p.truth["address"]) >> harness.KPF_KSM & 1, "the page is not merged")


def test_ksm_across_processes(t):
    """Two processes with the same contents: still one frame for each content."""
    ksm_on(t)
    exe = t.executable_copy()
    both = [t.workload("ksm", pin=True, executable=exe) for _ in range(2)]
    before = t.measure(*[p.pid for p in both])
    for p in both:
        p.go()
    for p in both:
        ksm_wait(t, p)
        p.ask("touch")
    counted = t.measure(*[p.pid for p in both])
    t.equal(counted["anon"] - before["anon"], both[0].truth["anon"], "anon of two processes with the same contents")
    t.near(counted["rss_sum"] - before["rss_sum"], 2 * both[0].truth["length"], 2 * harness.rss_error(*[p.pid for p in both]), "rss_sum")


def test_memfd_mapped_twice(t):
    count_rule(t, "memfd")


def test_remapped_page_by_page(t):
    count_rule(t, "remapped")


def test_sysv_segment_attached_twice(t):
    count_rule(t, "sysv")


def test_tmpfs_file(t):
    path = f"/dev/shm/capd-test-{os.getpid()}"
    t.need(os.path.ismount("/dev/shm"), "/dev/shm is no tmpfs")
    t.cleanup(lambda: os.path.exists(path) and os.unlink(path))
    count_rule(t, "tmpfs", path)


def test_shared_file(t):
    count_rule(t, "file-shared", f"{t.tmp}/file")


def test_private_file(t):
    count_rule(t, "file-private", f"{t.tmp}/file")


def test_mlock(t):
    count_rule(t, "mlock")


def test_madv_free(t):
    count_rule(t, "madv-free")


def test_sparse_16_tib_in_pieces(t):
    """2 MiB in 16 places of one reserved mapping, found on kernels without PAGEMAP_SCAN too."""
    count_rule(t, "sparse-pieces")


def count_holes(t, scenario):
    """The limit, of CPU time, is far above what walks without the holes take, and far below ones with."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    count_rule(t, scenario)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    t.note(f"{used:.2f} s of CPU")
    t.check(used < 20 * harness.SLOW, f"an address space that is nearly empty took {used:.0f} s of CPU")


def test_sparse_16_tib(t):
    """2 MiB scattered over 16 TiB."""
    t.need(harness.kernel() >= (6, 7) or harness.SLOW == 1,
           "without PAGEMAP_SCAN (Linux 6.7) looking for the pages takes longer than its limit here")
    count_holes(t, "sparse")


def test_reserved_16_tib(t):
    count_holes(t, "reserved")


def test_driver_pages(t):
    """A packet socket's ring: pages with a struct page but without a file, which VmRSS counts as file pages."""
    try:
        count_rule(t, "packet-ring")
    except harness.Failure as e:
        t.need("PACKET_RX_RING" not in str(e), "no packet socket to be had")
        raise


def test_device_memory(t):
    """Mapped by frame number: in no RSS, hence not resident."""
    try:
        count_rule(t, "device-memory")
    except harness.Failure as e:
        t.need("/dev/mem" not in str(e), "this host lets nobody map device memory")
        raise


def test_hugetlb(t):
    path = "/sys/kernel/mm/hugepages/hugepages-2048kB/"
    t.need(os.path.exists(path), "no 2 MiB hugetlb pages here")
    free = int(harness.read(path + "free_hugepages"))
    if free < 2:
        t.settings(path + "nr_hugepages", int(harness.read(path + "nr_hugepages")) + 2)
        t.need(int(harness.read(path + "free_hugepages")) >= 2, "no hugetlb pages to be had")
    p = t.workload("hugetlb", pin=True)
    before, twice = t.measure(p.pid), harness.mapped_twice(p.pid)
    p.go()
    for _ in range(20):
        p.ask("touch")
        rss, counted = rollup(p.pid)["Rss"], t.measure(p.pid)
        if rollup(p.pid)["Rss"] == rss:
            break
    t.equal(counted["hugetlb"] - before["hugetlb"], p.truth["hugetlb"], "hugetlb of one process")
    t.equal(counted["resident"] + twice, rss, "resident without hugetlb")
    both = t.measure(*p.pids)
    t.equal(both["processes"], 2, "processes")
    t.equal(both["hugetlb"], p.truth["hugetlb"], "hugetlb pages of two processes, each once")


def test_second_process_on_the_same_memory(t):
    """clone(CLONE_VM): two processes, one address space, counted once."""
    p = t.workload("clone-vm", pin=True)
    before = t.measure(p.pid)
    p.go()
    # a host may take a clean page between two counts
    for _ in range(20):
        p.ask("touch")
        rss = rollup(p.pid)["Rss"]
        alone, both = t.measure(p.pid), t.measure(*p.pids)
        if rollup(p.pid)["Rss"] == rss:
            break
    t.equal(both["processes"], 2, "processes")
    t.equal(alone["anon"] - before["anon"], p.truth["anon"], "anon of one of them")
    for key in ("resident", "rss_sum", "anon", "file"):
        t.equal(both[key], alone[key], f"{key} of both, against one")


def test_swapped_pages(t):
    t.swapfile(256)
    p = t.workload("swapped", pin=True)
    before, twice = t.measure(p.pid), harness.mapped_twice(p.pid)
    p.go()
    t.wait(lambda: vm(p.pid)["VmSwap"] > p.truth["swap"] * 3 // 4, "the kernel to swap out")
    for _ in range(20):
        kernel_swap, rss = vm(p.pid)["VmSwap"], rollup(p.pid)["Rss"]
        counted, both = t.measure(p.pid), t.measure(*p.pids)
        if vm(p.pid)["VmSwap"] == kernel_swap and rollup(p.pid)["Rss"] == rss:
            break
    t.equal(before["swap"], 0, "swap before")
    t.equal(counted["swap"], kernel_swap, "swap against VmSwap")
    t.equal(counted["resident"] + twice, rss, "resident against smaps_rollup")
    # Parent and child inherited the same slots. What one of them had left to write is the only room for a difference.
    t.near(both["swap"], kernel_swap, 64 * PAGE, "swap slots of two processes, each once")


def rounds(n):
    """How often to try what depends on chance: where a try takes longer, fewer of them."""
    return max(20, int(n / harness.SLOW))


def never_mixed(t, measure, what):
    """Counts a process that is now private memory, now shared memory: no count may show both."""
    seen_private = seen_shared = 0
    for _ in range(rounds(150)):
        group = measure()
        if group is None:
            continue
        big = [group[k] > 8 * MIB for k in ("anon", "shmem")]
        t.check(not all(big), f"{what}: two programs mixed into one count: {group}")
        t.check(group["quality"] == "exact" or group["processes"] == 0, f"{what}: a failed count: {group}")
        seen_private += big[0]
        seen_shared += big[1]
    t.note(f"{what}: seen as one {seen_private} times, as the other {seen_shared} times")
    t.check(seen_private + seen_shared > 0, f"{what}: never seen with its memory")


def measure_or_nothing(t, *what):
    """None where the process was in between two lives when it was looked for."""
    done = t.capctl("measure", "-J", *what, check=None)
    if done.returncode != 0:
        t.equal(done.returncode, 1, f"status of capctl measure ({done.stderr.strip()})")
        return None
    return harness.json.loads(done.stdout)["groups"][0]


def test_exec_during_the_scan(t):
    p = t.workload("flip-exec", comm="flipexec")
    never_mixed(t, lambda: measure_or_nothing(t, p.pid), "exec")


def test_pid_reuse_during_the_scan(t):
    try:
        p = t.workload("flip-pid")
    except harness.Failure as e:
        t.need("clone3" not in str(e), f"no choice of process numbers here: {e}")
        raise
    never_mixed(t, lambda: measure_or_nothing(t, p.pids[1]), "reuse of a number")


def test_exit_during_the_scan(t):
    """A process of known size among children that come and go: never a failed group, never less than the one that stays."""
    exe = t.executable_copy("churning")
    p = t.workload("churn", 64, comm="churning", executable=exe)
    stop = threading.Event()
    t.cleanup(stop.set)
    steady = p.truth["anon"]
    left, first = rounds(60), p.ask("stat")["started"]
    # so many counts, and so many children that came and went meanwhile
    while left > 0 or p.ask("stat")["started"] <= first + 60:
        left -= 1
        # Whoever was there when the list was made may be gone by now.
        pids = [p.pid, *harness.children(p.pid)]
        done = t.capctl("measure", "-J", "--comm", "churning", check=0)
        group = harness.json.loads(done.stdout)["groups"][0]
        t.equal(group["quality"], "exact", f"quality ({len(pids)} processes)")
        t.check(steady <= group["anon"] <= steady + 24 * MIB,
                f"anon {group['anon']} of a steady {steady} and children that share it")
        t.check(group["resident"] <= group["rss_sum"] + 24 * MIB, f"resident above what was mapped: {group}")
