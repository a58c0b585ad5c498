# SPDX-License-Identifier: MIT
"""capd.service as it is installed: its sandbox, and what it does when it is reloaded, stopped, killed or stuck."""
import os
import signal

import guest
from guest import CGROUPS, RUNTIME, cgroup_number, cgroup_pids
from harness import MIB, children, read

DROP_IN = "/run/systemd/system/capd.service.d"
# Of 100, as in tests/lint.
MAX_EXPOSURE = 30


def status_fields(pid):
    return dict(line.split(":\t", 1) for line in read(f"/proc/{pid}/status").splitlines() if ":\t" in line)


def drop_in(t, text):
    """More settings for the unit, for the time of the test. To be called while it is stopped."""
    os.makedirs(DROP_IN, exist_ok=True)
    path = f"{DROP_IN}/{t.name}.conf"
    with open(path, "w", encoding="ascii") as f:
        f.write(text)

    def away():
        # Registered after the service's own end, so called before it: the service must go first.
        t.capd_away()
        os.unlink(path)
        os.rmdir(DROP_IN)
        t.run("systemctl", "daemon-reload", check=0)
    t.cleanup(away)
    t.run("systemctl", "daemon-reload", check=0)


def warnings(capd):
    """What capd.service said that an administrator should read."""
    return [e["MESSAGE"] for e in capd.journal() if e.get("_COMM", "").startswith("capd") and int(e.get("PRIORITY", 6)) <= 4]


def test_counts_a_unit(t):
    """A group by Unit= is what its processes hold."""
    process, unit = t.unit_workload("family", 40, 3)
    capd = t.service(f"[Group u]\nUnit={unit.name}\nCap=1G\nAction=observe\n")
    group = capd.wait_group("u", lambda g: g["quality"] == "exact", "an exact count")
    t.equal(group["processes"], len(process.pids), "processes")
    t.check(group["resident"] >= 40 * MIB, f"resident is {group['resident']}")


def test_unit_is_sound(t):
    """By the tools of this release."""
    done = t.run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "capd.service", check=0)
    # Other units of the image may have something to say; ours has not.
    said = [line for line in (done.stdout + done.stderr).splitlines() if "capd" in line]
    t.equal(said, [], "systemd-analyze verify")
    done = t.run("systemd-analyze", "security", "--no-pager", f"--threshold={MAX_EXPOSURE}", "capd.service")
    exposure = done.stdout.splitlines()[-1].strip()
    t.note(exposure)
    t.equal(done.returncode, 0, f"systemd-analyze security: {exposure}")


def test_sandbox(t):
    """What the unit asks for is what the processes have, and the work is done within it."""
    p, unit = t.unit_workload("member", 30)
    capd = t.service(f"[Group u]\nUnit={unit.name}\nCap=1G\n")
    capd.wait_group("u", lambda g: g["quality"] == "exact", "an exact count")
    engine, front = capd.pid(), children(capd.pid())
    t.equal(len(front), 1, "children of the engine")
    fields = status_fields(engine)
    kept = {c for c in t.run("capsh", f"--decode={fields['CapBnd']}", check=0).stdout.strip().partition("=")[2].split(",")}
    asked = set(capd.property("CapabilityBoundingSet").split())
    t.equal(kept, asked, "bounding set")
    t.equal(fields["CapPrm"], fields["CapBnd"], "permitted")
    t.equal(fields["NoNewPrivs"], "1", "NoNewPrivs")
    t.equal(fields["Seccomp"], "2", "Seccomp")
    t.equal(read(f"/proc/{engine}/oom_score_adj").strip(), "-900", "oom_score_adj")
    fields = status_fields(front[0])
    t.equal(fields["Uid"].split()[0], str(t.uid("capd")), "user of the front")
    for name in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
        t.equal(int(fields[name], 16), 0, f"{name} of the front")
    # Nothing that should work did not, and capd tries everything at its start.
    t.equal(warnings(capd), [], "warnings in the journal")

    def writable(path):
        return t.run("nsenter", "-t", str(engine), "-m", "test", "-w", path).returncode == 0
    for path in ("/", "/etc", "/usr", "/var", "/home", "/run", "/proc/sys/vm", "/sys/kernel/mm", "/sys/module"):
        t.check(not writable(path), f"{path} can be written")
    for path in (RUNTIME, "/tmp", CGROUPS, f"{CGROUPS}{unit.cgroup}/memory.high",
                 *(["/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds"] if os.path.exists(guest.DAMON) else [])):
        t.check(writable(path), f"{path} cannot be written")
    t.check(os.readlink(f"/proc/{engine}/ns/net") != os.readlink("/proc/1/ns/net"), "the host's network")
    t.check(p.child.poll() is None, "the member runs")


def test_pages_out_in_the_sandbox(t):
    """With nothing but what the unit leaves it."""
    t.zram(256)
    p, unit = t.unit_workload("member", 60)
    capd = t.service(f"[Daemon]\nSampleInterval=1s\n[Group u]\nUnit={unit.name}\nCap=30M\nProcessFloor=0\n")
    capd.wait_group("u", lambda g: g["state"] == "ok" and g["quality"] == "exact" and g["resident"] <= 30 * MIB,
                    "the group to be under its cap")
    t.equal(p.ask("touch"), {"ok": True}, "its memory afterwards")
    t.equal(warnings(capd), [], "warnings in the journal")


def test_memory_is_protected(t):
    """The figures of the unit are in force, which they are only if every cgroup above has them too: there is none."""
    capd = t.service("")
    cgroup = capd.property("ControlGroup")
    t.equal(cgroup, "/capd.service", "cgroup")
    t.check(cgroup_number(cgroup, "memory.min") >= 32 * MIB, "memory.min")
    t.check(cgroup_number(cgroup, "memory.low") >= cgroup_number(cgroup, "memory.min"), "memory.low")
    t.equal(cgroup_number(cgroup, "memory.swap.max"), 0, "memory.swap.max")
    current = cgroup_number(cgroup, "memory.current")
    t.note(f"memory.current of capd.service: {current / MIB:.1f} MiB")
    t.check(current < cgroup_number(cgroup, "memory.min"), f"it needs {current}")


def test_security_module_has_no_objection(t):
    """Stock AppArmor, as the release sets it up."""
    t.equal(read("/sys/module/apparmor/parameters/enabled", "missing").strip(), "Y", "AppArmor")
    capd = t.service("[Group all]\nUid=0-59999\nCap=64G\nAction=observe\n")
    capd.wait_group("all", lambda g: g["quality"] == "exact", "an exact count")
    denied = [line for line in t.run("dmesg").stdout.splitlines() if 'apparmor="DENIED"' in line and "capd" in line]
    t.equal(denied, [], "denials")


def test_bus_name(t):
    """Root and the front's user may own it, others may not."""
    capd = t.service("")
    # The policy names a user who may be younger than the message bus's last look at it.
    t.run("systemctl", "reload", "dbus.service", check=0)

    def own(*user):
        return t.run(*user, "busctl", "--system", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus",
                     "org.freedesktop.DBus", "RequestName", "su", "org.capd1", "4")
    for user in ([], ["setpriv", "--reuid=capd", "--clear-groups", "--regid=capd"]):
        done = own(*user)
        t.equal(done.returncode, 0, f"status of {user} ({done.stderr.strip()})")
    done = own("setpriv", "--reuid=alice", "--clear-groups", "--regid=alice")
    t.check(done.returncode != 0, "a user may own the name")
    t.check("not allowed" in done.stderr or "denied" in done.stderr.lower(), f"said: {done.stderr.strip()}")
    t.equal(capd.active(), "active", "the service")


def test_reload(t):
    capd = t.service("[Group old]\nUid=60000\nCap=1G\n")
    pid = capd.pid()
    capd.reload("[Group new]\nUid=60000\nCap=1G\n")
    t.wait(lambda: set(capd.groups()) == {"new"}, "the new configuration")
    t.equal(capd.pid(), pid, "the engine")
    # A wrong one is refused whole, and whoever asked is told.
    capd.configure("[Group newer]\nUid=60000\nCapp=1G\n")
    done = capd.systemctl("reload", check=None)
    t.check(done.returncode != 0, "the reload of a wrong configuration succeeds")
    t.wait(lambda: "Capp" in capd.ctl("status").stderr + capd.ctl("status").stdout, "the mistake in capctl status")
    t.check("/etc/capd.conf:3" in capd.log(), "the mistake is not in the journal")
    t.equal(set(capd.groups()), {"new"}, "groups in force")
    t.equal((capd.active(), capd.pid()), ("active", pid), "the service")
    capd.reload("[Group newest]\nUid=60000\nCap=1G\n")
    t.wait(lambda: set(capd.groups()) == {"newest"}, "the mended configuration")
    t.equal(capd.property("NRestarts"), "0", "restarts")


def test_restart(t):
    p, unit = t.unit_workload("member", 20)
    capd = t.service(f"[Group u]\nUnit={unit.name}\nCap=1G\n")
    before = capd.pid()
    capd.restart()
    t.check(capd.pid() not in (0, before), "the engine is the same")
    capd.wait_group("u", lambda g: g["quality"] == "exact", "an exact count")
    t.equal(len(cgroup_pids("/capd.service")), 2, "processes of the service")
    capd.stop()
    t.equal(os.listdir(RUNTIME), [], f"what is left in {RUNTIME}")
    t.check(p.child.poll() is None, "the member runs")


def test_wrong_configuration_at_start(t):
    """Status 78, said once, and not tried again and again."""
    t.capd.configure("[Group x]\nUidd=0\n")
    done = t.capd.systemctl("start", check=None)
    t.check(done.returncode != 0, "the start succeeds")
    t.equal(t.capd.property("ExecMainStatus"), "78", "exit status")
    t.equal((t.capd.active(), t.capd.property("NRestarts")), ("failed", "0"), "state and restarts")
    t.check("/etc/capd.conf:2" in t.capd.log(), "the mistake is not in the journal")


def test_killed(t):
    """The engine, without warning: another one, and the front of the first does not outlive it."""
    p, unit = t.unit_workload("member", 20)
    capd = t.service(f"[Group u]\nUnit={unit.name}\nCap=1G\n")
    before, front = capd.pid(), children(capd.pid())
    os.kill(before, signal.SIGKILL)
    t.wait(lambda: capd.pid() not in (0, before) and capd.active() == "active", "another engine")
    t.wait(lambda: capd.try_status(), "it to answer")
    capd.wait_group("u", lambda g: g["quality"] == "exact", "an exact count")
    t.wait(lambda: not any(os.path.exists(f"/proc/{f}") for f in front), "the old front to end")
    t.equal(capd.property("NRestarts"), "1", "restarts")
    t.check(p.child.poll() is None, "the member runs")


def test_front_killed(t):
    """Only the front: the engine makes another one, and the service is none the wiser."""
    capd = t.service("[Group u]\nUid=60000\nCap=1G\n")
    before, front = capd.pid(), children(capd.pid())
    os.kill(front[0], signal.SIGKILL)
    t.wait(lambda: children(before) and children(before) != front, "another front")
    t.wait(lambda: capd.try_status(), "it to answer")
    t.equal((capd.active(), capd.pid(), capd.property("NRestarts")), ("active", before, "0"), "the service")


def test_watchdog(t):
    """An engine that is stopped tells nobody that it lives: the service manager ends it and starts another one."""
    drop_in(t, "[Service]\nWatchdogSec=15s\n")
    p, unit = t.unit_workload("member", 20)
    capd = t.service(f"[Group u]\nUnit={unit.name}\nCap=1G\n")
    before = capd.pid()
    os.kill(before, signal.SIGSTOP)
    # Meanwhile the front answers, with the age of what it knows.
    t.check(capd.try_status(), "no answer while the engine is stopped")
    t.wait(lambda: capd.pid() not in (0, before) and capd.active() == "active", "another engine")
    t.wait(lambda: capd.try_status(), "it to answer")
    capd.wait_group("u", lambda g: g["quality"] == "exact", "an exact count")
    t.check("atchdog" in "\n".join(str(e.get("MESSAGE", "")) for e in capd.journal()), "nothing about the watchdog in the journal")
    t.equal(capd.property("NRestarts"), "1", "restarts")
    t.wait(lambda: not os.path.exists(f"/proc/{before}"), "the old engine to be gone")
    t.check(p.child.poll() is None, "the member runs")


def test_stop_while_acting(t):
    """In the middle of paging out: it ends at once, and all that stays are pages in swap."""
    t.zram(512)
    p, unit = t.unit_workload("member", 200)
    capd = t.service(f"[Daemon]\nSampleInterval=1s\n[Group u]\nUnit={unit.name}\nCap=20M\nReclaimRate=20M\n")

    def acting():
        g = capd.group("u")
        return g and g["state"] == "enforcing" and (g["swap"] or 0) > 0
    t.wait(acting, "capd to be at work")
    done = t.run("systemctl", "stop", "capd.service", check=0)
    t.check(not done.stderr, done.stderr)
    t.equal((capd.active(), capd.property("Result")), ("inactive", "success"), "the service")
    t.equal(os.listdir(RUNTIME), [], f"what is left in {RUNTIME}")
    t.equal(cgroup_pids(unit.cgroup), p.pids, "processes of the unit")
    t.equal(guest.cgroup_number(unit.cgroup, "memory.high"), None, "memory.high of the unit")
    t.equal(p.ask("touch"), {"ok": True}, "its memory afterwards")


def test_hook(t):
    """A hook lives in the sandbox, and the service manager does for it what the sandbox does not let it do."""
    directory = "/usr/local/lib/capd-test"
    os.makedirs(directory)
    t.cleanup(t.run, "rm", "-rf", directory)
    with open(f"{directory}/hook", "w", encoding="ascii") as f:
        f.write("#!/bin/sh\n"
                f"echo inside >{directory}/inside\n"
                # a child of the hook, begun a moment later than it
                "sleep 0.5; export ADJ=$(sh -c 'cat /proc/self/oom_score_adj')\n"
                f"systemd-run --quiet --collect --setenv=CAPD_GROUP --setenv=CAPD_STATE --setenv=ADJ "
                f"sh -c 'echo \"$CAPD_GROUP $CAPD_STATE $ADJ\" >>{directory}/outside'\n")
    os.chmod(f"{directory}/hook", 0o755)
    p, unit = t.unit_workload("member", 30)
    t.service(f"[Daemon]\nSampleInterval=1s\n[Group h]\nUnit={unit.name}\nCap=10M\nAction=observe\nHook={directory}/hook\n")
    t.wait(lambda: "h observed 0" in read(f"{directory}/outside", ""), "what the hook had done outside")
    t.check(not os.path.exists(f"{directory}/inside"), "the hook could write to the host")
    t.check(p.child.poll() is None, "the member runs")


def test_nothing_of_it_is_left(t):
    """After a stop: no process, no cgroup, and nothing in the runtime directory."""
    capd = t.service("[Group all]\nUid=0-59999\nCap=64G\nAction=observe\n")
    pids = cgroup_pids("/capd.service")
    t.equal(len(pids), 2, "processes")
    capd.stop()
    t.equal([p for p in pids if os.path.exists(f"/proc/{p}")], [], "processes afterwards")
    t.wait(lambda: not os.path.exists(f"{CGROUPS}/capd.service"), "its cgroup to be gone")
    t.equal(os.listdir(RUNTIME), [], f"what is left in {RUNTIME}")
    t.equal([line for line in t.run("mount").stdout.splitlines() if "capd" in line], [], "mounts")
