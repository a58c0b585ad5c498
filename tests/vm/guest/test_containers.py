# SPDX-License-Identifier: MIT
"""Containers: the cgroups that engines make, with processes in them, and a real container."""
import os

from guest import CGROUPS, cgroup_of, cgroup_pids
from harness import MIB, WORKLOAD, Process, rollup
from scenario import DAEMON, Bystander, charged_anon, enter, group, make_cgroup, remove_cgroup

POD = "3f0e9a52-77a1-4c0e-8d5b-0d1f6f3b9c21"


def identifier(digit):
    return (digit * 8 + "0123456789abcdef" * 4)[:64]


class Layouts:
    """A process each in the cgroups of each engine, as the engine's cgroup driver makes them."""

    def __init__(self, t):
        self.t = t
        self.containers = {}
        self.others = []

    def by_hand(self, path, name=None, size=4):
        """The cgroupfs drivers: plain directories."""
        make_cgroup(self.t, path)
        self._add(self.t.workload("writer", size, 1, 0, preexec_fn=enter(path)), path, name)

    def by_systemd(self, unit, slice_name, below="", name=None, size=4):
        """The systemd drivers: a scope in a slice, in which the engine makes cgroups of its own."""
        t = self.t
        process, scope = t.unit_workload("writer", size, 1, 0, name=unit.removesuffix(".scope"), scope=True, Slice=slice_name,
                                         Delegate="yes")
        path = scope.cgroup + below
        t.check(path.endswith(f"{slice_name}/{unit}{below}"), f"the scope {unit} is {scope.cgroup}")
        if below:
            os.mkdir(CGROUPS + path)
            t.cleanup(remove_cgroup, t, path)
            t.cleanup(process.end)
            with open(f"{CGROUPS}{path}/cgroup.procs", "w", encoding="ascii") as f:
                f.write(str(process.pid))
        self._add(process, path, name)

    def _add(self, process, path, name):
        self.t.equal(cgroup_of(process.pid), path, "the cgroup of the process")
        if name:
            self.containers[name] = process
        else:
            self.others.append(process)


def test_layouts(t):
    """ForEach=container finds each container under its own name, and only those; one of them is held at its cap."""
    t.zram(256)
    bystander = Bystander(t)
    layouts = Layouts(t)
    ids = [identifier(f"{i:x}") for i in range(6)]
    layouts.by_hand(f"/docker/{ids[0]}", ids[0], size=64)
    layouts.by_systemd(f"docker-{ids[1]}.scope", "system.slice", name=ids[1])
    layouts.by_systemd(f"libpod-{ids[2]}.scope", "machine.slice", "/container", name=ids[2])
    layouts.by_systemd(f"libpod-conmon-{ids[2]}.scope", "machine.slice")
    layouts.by_hand(f"/kubepods/burstable/pod{POD}/{ids[3]}", ids[3])
    layouts.by_systemd(f"cri-containerd-{ids[4]}.scope", f"kubepods-besteffort-pod{POD.replace('-', '_')}.slice", name=ids[4])
    layouts.by_systemd(f"crio-{ids[5]}.scope", f"kubepods-burstable-pod{POD.replace('-', '_')}.slice", name=ids[5])
    layouts.by_systemd("machine-web.scope", "machine.slice", "/payload", name="web")
    layouts.by_systemd("machine-db.scope", "machine.slice", "/supervisor")
    large, small = layouts.containers[ids[0]], [p for name, p in layouts.containers.items() if name != ids[0]]

    capd = t.service(DAEMON + group("c", "40M", ForEach="container", Container="*") + group("two", "1G", Container=f"{ids[1][:12]} web"))
    wanted = {f"c/{name}" for name in layouts.containers}
    t.wait(lambda: {n for n in capd.groups() if n != "two"} == wanted, f"the groups {sorted(wanted)}")
    groups = capd.groups()
    for name in wanted:
        t.equal(groups[name]["processes"], 1, f"processes of {name}")
    t.equal(groups["two"]["processes"], 2, "processes of two containers by the beginning of an id, and by name")
    t.wait(lambda: rollup(large.pid)["Anonymous"] <= 40 * MIB, "the large container to come under its cap")
    capd.wait_state(f"c/{ids[0]}", "ok")
    for process in [*small, *layouts.others]:
        t.equal(rollup(process.pid)["Swap"], 0, "swap of containers below their caps")
    for process in layouts.containers.values():
        t.equal(process.ask("verify")["bad"], 0, "bad pages")
    bystander.judge()


def test_nspawn(t):
    """A real container, with a file system, PID namespace and cgroup of its own, whose processes share memory."""
    t.zram(512)
    bystander = Bystander(t)
    name = "capdtests"
    # which systemd-nspawn 257 leaves when it is killed
    t.cleanup(lambda: t.run("umount", f"/run/systemd/nspawn/unix-export/{name}"))
    process = Process(t, ["systemd-nspawn", "--quiet", f"--machine={name}", "--directory=/", "--volatile=yes", "--as-pid2", "--pipe",
                          f"--bind-ro={WORKLOAD}:/workload", "/workload", "family", "80", "3"])
    process.ready()
    t.check(max(process.pids) < 100, f"the container has a PID namespace of its own: {process.pids}")
    capd = t.service(DAEMON + group("c", "50M", Container=name))
    state = capd.wait_group("c", lambda g: g["quality"] == "exact" and g["processes"] >= 4, "the container to be counted")
    # The largest process that runs in it, and from there its cgroup.
    cgroup = f"/machine.slice/machine-{name}.scope"
    t.wait(lambda: charged_anon(cgroup) <= 50 * MIB, "the container to come under its cap")
    state = capd.wait_state("c", "ok")
    t.note(f"{state['processes']} processes, {state['resident'] / MIB:.0f} MiB of {state['rss_sum'] / MIB:.0f} MiB RSS")
    t.equal(process.ask("verify", timeout=300)["bad"], 0, "bad pages")
    t.check(len(cgroup_pids(cgroup, below=True)) >= 4, "its processes live")
    bystander.judge()
    process.end()
    t.wait(lambda: not os.path.exists(CGROUPS + cgroup), "the container to end")
    t.wait(lambda: capd.group("c")["processes"] == 0, "the group to be empty")
