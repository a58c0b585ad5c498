# SPDX-License-Identifier: MIT
"""What the scenarios share: configuration, the kernel's own counters, bystanders, and processes in cgroups made by hand."""
import json
import os

from guest import CGROUPS, cgroup_file, cgroup_table
from harness import MIB, Failure, read, rollup, start_time

# Looks often enough that a test does not wait for the next one.
DAEMON = "[Daemon]\nSampleInterval=1s\nScanInterval=2s\nExactInterval=5s\nCPUBudget=50%\n"


def group(name, cap, **settings):
    return f"[Group {name}]\nCap={cap}\n" + "".join(f"{key}={value}\n" for key, value in settings.items())


def mib(size):
    return f"{size / MIB:.0f}"


def vmstat(*names):
    """Counters of the whole machine, such as pswpin and pswpout, in pages."""
    table = dict(line.split() for line in read("/proc/vmstat").splitlines())
    return tuple(int(table[name]) for name in names)


def charged_anon(cgroup):
    """Anonymous memory in a cgroup and below, each page once whoever shares it: the kernel's count, not capd's."""
    return cgroup_table(cgroup, "memory.stat")["anon"]


def unmapped_cache(cgroup):
    table = cgroup_table(cgroup, "memory.stat")
    return table["file"] - table["file_mapped"] - table["shmem"]


def figures(capd, name, *columns):
    """Figures of a group that capctl shows only by name, as a dictionary with lower-case keys."""
    done = capd.ctl("status", "-J", "-o", ",".join(["NAME", *columns]), name)
    return json.loads(done.stdout)["groups"][0]


class Bystander:
    """An idle process of no group: what a means of reclaim that is not exact would take first."""

    def __init__(self, t, size=32, **options):
        self.t = t
        self.process = t.workload("writer", size, 0, 0, comm="bystander", **options)
        self.pid = self.process.pid
        self.size = size * MIB
        self.start = start_time(self.pid)

    def judge(self, allowed=0):
        held = rollup(self.pid)
        self.t.equal(start_time(self.pid), self.start, "the bystander is the same process")
        self.t.check(held["Swap"] <= allowed and held["Anonymous"] >= self.size - allowed,
                     f"memory was taken from a bystander: {held['Swap']} bytes swapped, {held['Anonymous']} resident")
        self.t.equal(self.process.ask("verify")["bad"], 0, "bad pages of the bystander")


class Progress:
    """What looping workloads get done, compared with one beside them that is of no group.

    Both are slowed by whatever else the machine does, so that the ratio is a measurement and the times are not.
    """

    def __init__(self, t, capped, control):
        self.t = t
        self.capped, self.control = capped, control
        self.mark()

    def _pages(self):
        answers = [p.ask("stat", timeout=300) for p in (self.capped, self.control)]
        for answer in answers:
            self.t.equal(answer["bad"], 0, "bad pages")
        return [answer["pages"] for answer in answers]

    def mark(self):
        self.at = self._pages()

    def ratio(self):
        """Since the mark."""
        now = self._pages()
        done, beside = now[0] - self.at[0], now[1] - self.at[1]
        return done / beside if beside > 0 else 0.0

    def passes(self, pages):
        """How often each of so many pages has been gone over since the mark, by the control."""
        return (self._pages()[1] - self.at[1]) / pages

    def wait_passes(self, count, pages, timeout=120):
        self.t.wait(lambda: self.passes(pages) >= count, f"{count} passes over the memory", timeout, step=0.5)


def make_cgroup(t, path):
    """Cgroups down to a path, with the memory controller; they go with the test. Made by hand, as a container engine does."""
    below = ""
    for name in path.strip("/").split("/"):
        parent, below = below, f"{below}/{name}"
        control = f"{CGROUPS}{parent}/cgroup.subtree_control"
        if "memory" not in read(control).split():
            with open(control, "w", encoding="ascii") as f:
                f.write("+memory")
        if not os.path.isdir(CGROUPS + below):
            os.mkdir(CGROUPS + below)
            t.cleanup(remove_cgroup, t, below)
    return path


def remove_cgroup(t, path):
    def gone():
        try:
            os.rmdir(CGROUPS + path)
        except FileNotFoundError:
            return True
        except OSError:  # the last process is just ending
            return False
        return True
    try:
        t.wait(gone, f"{path} to be empty")
    except Failure as e:
        raise Failure(f"{e}: {read(cgroup_file(path, 'cgroup.procs'), '').split()}") from None


def enter(cgroup):
    """For preexec_fn: what is executed then is in the cgroup from its first page on."""
    def move():
        with open(cgroup_file(cgroup, "cgroup.procs"), "w", encoding="ascii") as f:
            f.write("0")
    return move
