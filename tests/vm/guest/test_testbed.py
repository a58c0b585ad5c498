# SPDX-License-Identifier: MIT
"""The guest is what the other tests take it for: a stock system, with the helpers of guest.py working in it."""
import os

import guest
from harness import MIB, kernel, read, swaps


def test_stock_system(t):
    """The release's own kernel and systemd, the unified hierarchy, and AppArmor in force."""
    release = read("/etc/debian_version").partition(".")[0]
    kernels, managers = {"12": (6, 1), "13": (6, 12)}, {"12": "252", "13": "257"}
    t.equal(kernel(), kernels.get(release), "kernel")
    version = t.run("systemctl", "--version", check=0).stdout.split()[1]
    t.equal(version, managers.get(release), "systemd")
    t.check(os.path.exists(f"{guest.CGROUPS}/cgroup.controllers"), "cgroup v2 is not alone")
    t.equal(read("/sys/module/apparmor/parameters/enabled").strip(), "Y", "AppArmor")
    t.check(read("/sys/kernel/security/apparmor/profiles"), "no AppArmor profile is loaded")
    t.equal(os.path.exists(guest.DAMON), release != "12", "DAMON")
    t.note(f"{os.uname().release}, systemd {version}, {os.cpu_count()} processors")


def test_transient_units(t):
    """A service and a scope, each with a workload that talks, each in a cgroup of its own."""
    service, unit = t.unit_workload("member", 8, MemoryAccounting="yes")
    t.equal(unit.pid, service.pids[0], "main process")
    t.equal(unit.pids(), service.pids, "processes of the unit")
    t.check(guest.cgroup_number(unit.cgroup, "memory.current") >= 8 * MIB, "the unit is charged too little")
    scope, unit = t.unit_workload("member", 8, scope=True, name="testbed-scope")
    t.equal(guest.cgroup_of(scope.pids[0]), "/system.slice/testbed-scope.scope", "cgroup of the scope")
    t.equal(unit.pids(), scope.pids, "processes of the scope")


def test_users(t):
    """A unit in a user's own manager, and a login session."""
    t.user_manager("alice")
    workload, unit = t.unit_workload("member", 4, user="alice")
    uid = t.uid("alice")
    t.check(guest.cgroup_of(workload.pids[0]).startswith(f"/user.slice/user-{uid}.slice/user@{uid}.service/"),
            f"alice's unit is in {guest.cgroup_of(workload.pids[0])}")
    t.equal(os.stat(f"/proc/{workload.pids[0]}").st_uid, uid, "owner")
    t.equal(unit.pid, workload.pids[0], "main process")
    session = t.session_workload("bob", "member", 4)
    cgroup = guest.cgroup_of(session.pids[0])
    t.check(cgroup.startswith(f"/user.slice/user-{t.uid('bob')}.slice/session-"), f"bob's process is in {cgroup}")


def test_zram(t):
    """Swap on zram comes and goes."""
    t.need_no_swap()
    device = t.zram(64)
    t.equal(swaps(), [device], "swap")


def test_journal(t):
    """What capd says in this test, and nothing from before."""
    capd = t.service("[Group g]\nComm=nobody-has-it\nCap=1G\n")
    t.check("Watching 1 group" in capd.log(), f"no word of its start in the journal: {capd.log()!r}")
    capd.stop()
    t.equal(sum("Watching" in line for line in capd.log().splitlines()), 1, "starts in the journal")
