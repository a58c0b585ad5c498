# SPDX-License-Identifier: MIT
"""capctl explain about cgroups: each figure against memory.stat, memory.current, and what the programs know of themselves."""
import json
import re

from guest import cgroup_number, cgroup_of, cgroup_table
from harness import MIB, PAGE

CONFIG = "[Group x]\nUnit={}\nCap=2G\nAction=observe\n"


def explain(t, group="x"):
    """(the group, its charges by cgroup, the text)."""
    answer = json.loads(t.capd.ctl("explain", "-J", group).stdout)
    return answer["groups"][0], {c["cgroup"]: c["bytes"] for c in answer["charges"]}, t.capd.ctl("explain", group).stdout


def sums(text):
    """The sums in the text, each as a list of (sign, bytes, label), the last of them the result."""
    found, terms = [], []
    for line in text.splitlines():
        m = re.match(r" ([ +=-]) +\S+ +(\d+)  (.*)$", line)
        if not m:
            terms = []
            continue
        terms.append((m[1], int(m[2]), m[3]))
        if m[1] == "=":
            found.append(terms)
            terms = []
    return found


def check_sums(t, text):
    """Every sum holds to the byte. By the label of the result."""
    results = {}
    for terms in sums(text):
        total = sum(b if sign in " +" else -b for sign, b, _ in terms[:-1])
        t.equal(total, terms[-1][1], f"the sum of {terms}")
        results.setdefault(terms[-1][2].split(":")[0], []).append(terms)
    return results


def named(terms, *words):
    """The line with one of these words in its label, 0 if there is none."""
    return sum(b if sign in " +" else -b for sign, b, label in terms[:-1] if any(w in label for w in words))


def books(t, *units):
    """What the kernel says of these cgroups together."""
    total = {"memory.current": sum(cgroup_number(u.cgroup, "memory.current") for u in units)}
    for u in units:
        for key, value in cgroup_table(u.cgroup, "memory.stat").items():
            total[key] = total.get(key, 0) + value
    return total


def check_books(t, group, before, after, slack=2 * MIB):
    """Figures of the group between two readings of the kernel's own."""
    for key, stat in (("cgroup_current", "memory.current"), ("cgroup_anon", "anon"), ("cgroup_file", "file"),
                      ("cgroup_shmem", "shmem"), ("cgroup_file_mapped", "file_mapped"), ("cgroup_kernel", "kernel"),
                      ("cgroup_sockets", "sock")):
        low, high = sorted((before[stat], after[stat]))
        t.check(low - slack <= group[key] <= high + slack, f"{key} is {group[key]}, and the kernel says {low} to {high}")


def test_shared_memory_and_page_cache(t):
    """20 children that share 200 MiB, 400 MiB of page cache, and 50 MiB of a file that another unit read first."""
    cache, shared = f"{t.tmp}/cache", f"{t.tmp}/shared"
    t.run("dd", "if=/dev/zero", f"of={cache}", "bs=1M", "count=400", "oflag=direct", check=0)
    first = t.unit("sh", "-c", f"dd if=/dev/zero of={shared} bs=1M count=50 && sync {shared} && touch {shared}.done && exec sleep 600",
                   name="capd-test-first")
    t.wait(lambda: t.run("test", "-e", f"{shared}.done").returncode == 0, "the first unit to have the file")
    family, own = t.unit_workload("family", 200, 20, properties=[f"ExecStartPre=/bin/dd if={cache} of=/dev/null bs=1M"])
    reader, second = t.unit_workload("member", 4, shared, 50)
    capd = t.service(CONFIG.format(f"{own.name} {second.name}"))
    capd.wait_group("x", lambda g: g["quality"] == "exact" and g["processes"] == 22, "an exact count")
    before = books(t, own, second)
    group, charges, text = explain(t)
    after = books(t, own, second)
    t.keep("text", text)

    t.equal(group["owned_cgroups"], 2, "cgroups of the group's own")
    check_books(t, group, before, after)
    t.equal(group["charged_here"] + group["charged_elsewhere"] + group["charged_nowhere"], group["resident"], "charges")
    t.equal(sum(charges.values()) + 0, group["charged_elsewhere"], "charges by name")
    # What the programs know: 200 MiB of the family, once, and 4 MiB of the other are charged here.
    t.near(group["anon"], 204 * MIB, 8 * MIB, "anon")
    t.near(group["charged_here"], group["anon"], 6 * MIB, "charged here")
    # The 50 MiB that the group maps, and that the first unit was charged for.
    t.near(charges.get(first.cgroup), 50 * MIB, MIB, f"charged to {first.cgroup}, of {charges}")
    # In the words of the second answer, which is a count of its own.
    results = check_sums(t, text)
    terms = results["cgroup_current"][0]
    t.near(named(terms, "page cache"), 400 * MIB, 12 * MIB, "page cache that nobody maps")
    t.near(named(terms, "page cache"), after["file"] - after["file_mapped"], 2 * MIB, "the same by memory.stat")
    t.near(named(terms, "kernel memory"), after["kernel"], 2 * MIB, "kernel memory")
    t.near(named(terms, "resident pages"), group["charged_here"], 2 * MIB, "resident pages charged here")
    rest = named(terms, "the rest")
    t.note(f"the rest: {rest / 1024:.0f} KiB")
    t.check(abs(rest) <= 4 * MIB, f"the rest is {rest}")
    t.check(abs(named(terms, "not by the group")) <= 3 * MIB, "mapped by others")
    charged = next(s for s in results["resident"] if named(s, first.cgroup))
    t.near(named(charged, first.cgroup), 50 * MIB, MIB, "the line of the first unit")
    t.check(re.search(r"400\S* of page cache|39\d\S* of page cache|40\d\S* of page cache", text), f"the words about the cache: {text}")
    t.check(f"to {first.cgroup}" in text, f"the words about the other unit: {text}")
    t.check(family.child.poll() is None and reader.child.poll() is None, "the members run")


def test_huge_pages(t):
    """Kernels before 6.4 tell the cgroup of the first frame of a huge page only."""
    p, unit = t.unit_workload("thp")
    capd = t.service(CONFIG.format(unit.name))
    capd.wait_group("x", lambda g: g["quality"] == "exact", "an exact count")
    group, charges, text = explain(t)
    t.need(cgroup_table(unit.cgroup, "memory.stat")["anon_thp"] >= 4 * MIB, "no huge pages here")
    check_sums(t, text)
    t.near(group["charged_nowhere"], 0, 256 * 1024, "charged to nobody")
    t.check(group["charged_here"] >= p.truth["anon"], f"charged here: {group['charged_here']}")


def test_swap_cache(t):
    """What was written to a disk stays charged until the host takes the room."""
    t.swapfile(256)
    p, unit = t.unit_workload("swapped")
    p.ask("pageout")
    capd = t.service(CONFIG.format(unit.name))
    capd.wait_group("x", lambda g: g["quality"] == "exact", "an exact count")
    group, charges, text = explain(t)
    stat = cgroup_table(unit.cgroup, "memory.stat")
    terms = check_sums(t, text)["cgroup_current"][0]
    t.note(f"swap {group['swap']}, swapcached {stat['swapcached']}, shown {group['cgroup_swap_cache']}")
    t.check(group["swap"] > 0, f"nothing is in swap: {group}")
    t.near(group["cgroup_swap_cache"], stat["swapcached"], MIB, "swap cache")
    t.check(abs(named(terms, "the rest")) <= 4 * MIB, f"the rest: {terms}")


def test_several_releases_of_one_name(t):
    """A cgroup that is gone: what was charged to it is its parent's by now, and the sums hold."""
    shared = f"{t.tmp}/shared"
    first = t.unit("sh", "-c", f"dd if=/dev/zero of={shared} bs=1M count=30 && sync {shared} && touch {shared}.done && exec sleep 600")
    t.wait(lambda: t.run("test", "-e", f"{shared}.done").returncode == 0, "the first unit to have the file")
    p, unit = t.unit_workload("member", 4, shared, 30)
    gone = first.cgroup
    first.stop()
    capd = t.service(CONFIG.format(unit.name))
    capd.wait_group("x", lambda g: g["quality"] == "exact", "an exact count")
    group, charges, text = explain(t)
    check_sums(t, text)
    t.check(gone not in charges, f"a cgroup that is gone: {charges}")
    t.near(charges.get("/system.slice"), 30 * MIB, 2 * MIB, f"charged to its parent, of {charges}")
    t.equal(group["charged_here"] + group["charged_elsewhere"] + group["charged_nowhere"], group["resident"], "charges")


def test_no_cgroup_of_its_own(t):
    """A member among strangers: who is charged is shown, and that there is nothing to compare with."""
    p = t.workload("member", 30, comm="explained")
    here = cgroup_of(p.pid)
    capd = t.service("[Group x]\nComm=explained\nCap=1G\nAction=observe\n")
    capd.wait_group("x", lambda g: g["quality"] == "exact" and g["processes"] == 1, "an exact count")
    group, charges, text = explain(t)
    t.equal(group["owned_cgroups"], 0, "cgroups of the group's own")
    t.equal(group["cgroup_current"], None, "cgroup_current")
    t.check("no cgroup is the group's alone" in text, text)
    t.check(charges.get(here, 0) >= 30 * MIB, f"{here} is charged, of {charges}")
    t.equal(group["charged_here"], 0, "charged here")
    t.equal(sum(charges.values()) + group["charged_nowhere"], group["resident"], "charges")
    check_sums(t, text)
    t.equal(group["resident"] % PAGE, 0, "resident")
