# SPDX-License-Identifier: MIT
"""capd as a service: start, stop, reload, restart, what it tells its manager, and how capctl ends."""
import os
import shutil
import signal
import socket

import harness
from harness import CAPCTL, CAPD, children, read, start_time, state

CONFIG = "[Daemon]\nSampleInterval=1s\n[Group me]\nComm=servicemember\nCap=1G\nAction=observe\n"


def gone(pid, start):
    return start_time(pid) != start or state(pid) == "Z"


def test_sigterm_leaves_nothing(t):
    p = t.workload("member", 8, comm="servicemember", executable=t.executable_copy())
    d = t.daemon(CONFIG)
    d.wait_group("me", lambda g: g["processes"] == 1, "the group")
    fronts = [(pid, start_time(pid)) for pid in d.fronts()]
    t.check(fronts, "there is a front")
    t.check(os.path.exists(f"{d.runtime}/control"), "the socket is there")
    t.equal(d.stop(), 0, "exit status")
    for pid, start in fronts:
        t.wait(lambda: gone(pid, start), "the front to end")
    t.check(not os.path.exists(f"{d.runtime}/control"), "the socket is still there")
    t.check(state(p.pid) not in ("", *"TtZX"), f"state of the member: {state(p.pid)}")
    d.ctl("status", check=3)


def test_first_answer(t):
    """Whatever capctl says right after the start, it is not that there are no groups."""
    for _ in range(5):
        d = t.daemon(CONFIG, wait=False)
        status = t.wait(d.try_status, "capctl to get an answer", step=0.005)
        t.equal([g["name"] for g in status["groups"]], ["me"], "groups of the first answer")
        t.equal(d.stop(), 0, "exit status")


def test_sigint_ends_cleanly(t):
    d = t.daemon(CONFIG)
    d.signal(signal.SIGINT)
    t.equal(d.child.wait(harness.GUARD * harness.SLOW), 0, "exit status")


def test_engine_killed(t):
    """kill -9: the front ends by itself, and the next start works in the same directory."""
    d = t.daemon(CONFIG)
    fronts = [(pid, start_time(pid)) for pid in d.fronts()]
    d.child.kill()
    d.child.wait()
    for pid, start in fronts:
        t.wait(lambda: gone(pid, start), "the front to end")
    d.ctl("status", check=3)
    again = t.daemon(CONFIG)
    t.equal(again.runtime, d.runtime, "runtime directory")
    t.equal(list(again.groups()), ["me"], "groups after the restart")
    t.equal(again.stop(), 0, "exit status")


def test_second_daemon_is_refused(t):
    d = t.daemon(CONFIG)
    done = t.run(CAPD, "-c", d.config, "--runtime-directory", d.runtime)
    t.check(done.returncode not in (0, 78), f"status {done.returncode}")
    t.check("another capd" in done.stderr.lower() and d.runtime in done.stderr, f"message: {done.stderr!r}")
    t.equal(list(d.groups()), ["me"], "the first one still answers")
    other = t.daemon(CONFIG, name="other")
    t.equal(list(other.groups()), ["me"], "one with a directory of its own is welcome")


def test_without_rights(t):
    """A start by anybody else ends at once, with one clear message."""
    directory = f"{t.tmp}/nobody"
    os.mkdir(directory)
    os.chown(directory, 65534, 65534)
    config = f"{t.tmp}/capd.conf"
    with open(config, "w", encoding="ascii") as f:
        f.write(CONFIG)
    copy = shutil.copy(CAPD, f"{t.tmp}/capd")
    os.chmod(copy, 0o755)
    done = t.run(copy, "-c", config, "--runtime-directory", f"{directory}/run", user=65534, group=65534,
                 extra_groups=[])
    t.check(done.returncode not in (0, 78), f"status {done.returncode}")
    t.check("root" in done.stderr or "CAP_" in done.stderr, f"message: {done.stderr!r}")
    t.check(done.returncode > 0, "it was ended by a signal")


class Manager:
    """What systemd would hear."""

    def __init__(self, t):
        self.t = t
        self.path = f"{t.tmp}/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o777)
        self.socket.setblocking(False)
        self.messages = []
        t.cleanup(self.socket.close)

    def heard(self):
        while True:
            try:
                self.messages.append(self.socket.recv(65536).decode())
            except BlockingIOError:
                return self.messages

    def has(self, field):
        return any(line.startswith(field) for m in self.heard() for line in m.splitlines())

    def wait(self, field):
        self.t.wait(lambda: self.has(field), f"{field} among the messages to the service manager")


def test_messages_to_the_service_manager(t):
    m = Manager(t)
    # The real variable names the process; WATCHDOG_PID is left out, as it may be.
    d = t.daemon(CONFIG, env={"NOTIFY_SOCKET": m.path, "WATCHDOG_USEC": "4000000"})
    m.wait("READY=1")
    m.wait("STATUS=")
    t.check(not m.has("STOPPING=1"), "stopping too early")
    m.wait("WATCHDOG=1")
    before = len(m.heard())
    d.signal(signal.SIGHUP)
    m.wait("RELOADING=1")
    reloading = [x for x in m.heard() if "RELOADING=1" in x]
    t.check(all("MONOTONIC_USEC=" in x for x in reloading), f"RELOADING without MONOTONIC_USEC: {reloading}")
    t.wait(lambda: any("READY=1" in x for x in m.heard()[before:]), "READY after the reload")
    watchdogs = sum("WATCHDOG=1" in x for x in m.heard())
    t.wait(lambda: sum("WATCHDOG=1" in x for x in m.heard()) > watchdogs + 1, "the watchdog to be fed again")
    # A reload that fails ends as well.
    d.write_config("[Group a]\nnonsense\n")
    before = len(m.heard())
    d.signal(signal.SIGHUP)
    t.wait(lambda: any("RELOADING=1" in x for x in m.heard()[before:]), "RELOADING")
    t.wait(lambda: any("READY=1" in x for x in m.heard()[before:]), "READY after a failed reload")
    for front in d.fronts():
        environment = read(f"/proc/{front}/environ", "")
        t.check("NOTIFY_SOCKET" not in environment or os.geteuid() == 0, "environment of the front")
    t.equal(d.stop(), 0, "exit status")
    m.wait("STOPPING=1")


def test_no_manager_no_messages(t):
    env = {k: v for k, v in os.environ.items() if k not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
    t.equal("NOTIFY_SOCKET" in env, False, "environment")
    d = t.daemon(CONFIG)
    t.equal(d.stop(), 0, "exit status")


def test_exit_status_of_capctl(t):
    """0 done, 1 failed, 2 usage, 3 no daemon; one line on standard error where it failed."""
    empty = f"{t.tmp}/empty"
    os.mkdir(empty)
    base = ["--runtime-directory", empty]
    for verb in ([], ["status"], ["explain", "x"], ["ps", "x"], ["reload"], ["pause"], ["resume"], ["enforce", "x"],
                 ["cap", "x", "1G"]):
        done = t.capctl(*base, *verb, check=None)
        t.equal(done.returncode, 3, f"status of capctl {verb} without a daemon ({done.stderr.strip()})")
        t.equal(len(done.stderr.strip().splitlines()), 1, f"lines of the error of {verb}: {done.stderr!r}")
    for arguments in (["frobnicate"], ["--no-such-option"], ["explain"], ["cap"], ["cap", "x"], ["enforce"],
                      ["status", "-o", "NO_SUCH_COLUMN"], ["measure"], ["status", "-w", "soon"]):
        done = t.capctl(*base, *arguments, check=None)
        t.equal(done.returncode, 2, f"status of capctl {arguments} ({done.stderr.strip()})")
        t.check(done.stderr.strip(), f"capctl {arguments} says nothing")
    for arguments in (["--help"], ["--version"], ["status", "--help"]):
        t.capctl(*arguments, check=0)
    d = t.daemon(CONFIG)
    d.ctl("status", check=0)
    d.ctl("status", "me", check=0)
    for arguments in (["status", "nobody"], ["explain", "nobody"], ["ps", "nobody"], ["pause", "nobody"],
                      ["resume", "nobody"], ["enforce", "nobody"], ["cap", "nobody", "1G"]):
        done = d.ctl(*arguments, check=1)
        t.equal(len(done.stderr.strip().splitlines()), 1, f"lines of the error of {arguments}: {done.stderr!r}")
        t.check("nobody" in done.stderr, f"the group is not named: {done.stderr!r}")


def test_exit_status_of_capd(t):
    for arguments in (["--no-such-option"], ["an-argument"]):
        done = t.run(CAPD, *arguments)
        t.check(done.returncode in (2, 64), f"status of capd {arguments}: {done.returncode}")
    for arguments in (["--help"], ["--version"], ["--features"]):
        done = t.run(CAPD, *arguments, check=0)
        t.check(done.stdout.strip(), f"capd {arguments} says nothing")


def test_output_formats(t):
    p = t.workload("member", 8, comm="servicemember", executable=t.executable_copy())
    d = t.daemon(CONFIG)
    d.wait_group("me", lambda g: g["processes"] == 1, "the group")
    # lsblk's manners: titles in capitals, -n without, -r single spaces, -o chooses, -b whole bytes, JSON always integers.
    lines = d.ctl("status", "-n", "-r", "-b", "-o", "NAME,STATE,CAP").stdout.splitlines()
    t.equal(lines, [f"me ok {1 << 30}"], "raw line")
    title = d.ctl("status", "-o", "NAME,CAP").stdout.splitlines()[0].split()
    t.equal(title, ["GROUP", "CAP"], "titles")
    group = harness.json.loads(d.ctl("status", "-J", "-o", "NAME,CAP,RSS_SUM").stdout)["groups"][0]
    t.equal(set(group), {"name", "cap", "rss_sum"}, "keys of chosen columns")
    t.check(isinstance(group["cap"], int) and isinstance(group["rss_sum"], int), f"sizes are integers: {group}")
    full = d.group("me")
    for key in ("name", "state", "processes", "cap", "resident", "quality", "age_usec", "rss_sum"):
        t.check(key in full, f"{key} is missing from {sorted(full)}")
    listed = harness.json.loads(d.ctl("ps", "-J", "-o", "PID,PROTECTED,FLOOR,SAME-MM", "me").stdout)["processes"]
    t.equal(listed, [{"pid": p.pid, "protected": False, "below_floor": False, "same_address_space": False}],
            "booleans of a process")
    for text in (d.ctl("status").stdout, d.ctl("ps", "me").stdout, d.ctl("explain", "me").stdout):
        t.check("\x1b" not in text, "colour, though standard output is no terminal")
    t.check(p.child.poll() is None, "the member runs")


def test_measure_needs_no_daemon(t):
    p = t.workload("member", 8, comm="measured")
    counted = t.measure(p.pid)
    t.check(counted["anon"] >= 8 * harness.MIB, f"anon {counted['anon']}")
    t.check(counted["anon"] < 16 * harness.MIB, f"anon {counted['anon']}")
    by_comm = t.measure("--comm", "measured")
    t.equal(by_comm["processes"], 1, "processes by comm")
    missing = 4194304 - 7
    done = t.capctl("measure", missing, check=1)
    t.equal(len(done.stderr.strip().splitlines()), 1, f"error for a process that is not there: {done.stderr!r}")


def test_measure_without_rights(t):
    """No page frames without CAP_SYS_ADMIN: said, and never a figure deduplicated on frame 0."""
    copy = shutil.copy(CAPCTL, f"{t.tmp}/capctl")
    os.chmod(copy, 0o755)
    p = t.workload("member", 8, user=65534, group=65534, extra_groups=[], executable=t.executable_copy())
    done = t.run(copy, "measure", "-J", str(p.pid), user=65534, group=65534, extra_groups=[])
    t.check(done.returncode in (0, 1), f"status {done.returncode}")
    t.check(done.stderr.strip(), "nothing is said about the missing right")
    if done.returncode == 0:
        group = harness.json.loads(done.stdout)["groups"][0]
        t.check(group["quality"] != "exact", f"an exact figure without page frames: {group}")


def test_features_prove_each_right(t):
    """What a right is good for is tried, not read off a list: without the right the trial fails, and with it does not."""
    if not shutil.which("setpriv"):
        t.skip("setpriv is missing")

    def shown(*dropped):
        bounding = ",".join(f"-{x}" for x in (*dropped, "dac_override"))
        done = t.run("setpriv", f"--bounding-set={bounding}", "--inh-caps=-all", CAPD, "--features", check=0)
        return {x.split()[0]: x.split()[1] for x in done.stdout.splitlines() if len(x.split()) > 1}

    whole = shown()
    for right, feature in (("sys_admin", "page-frames"), ("sys_ptrace", "kcmp"),
                           ("sys_nice", "process-madvise"), ("fowner", "foreign-files")):
        if whole[f"cap_{right}"] != "yes":
            t.skip(f"CAP_{right.upper()} is not to be had here")
        t.equal(whole[feature], "yes", feature)
        t.equal(shown(right)[feature], "no", f"{feature} without CAP_{right.upper()}")


def test_hook(t):
    """A program is told of each change of state."""
    exe = t.executable_copy("hooked")
    out = f"{t.tmp}/hook.out"
    hook = f"{t.tmp}/hook"
    with open(hook, "w", encoding="ascii") as f:
        f.write(f"#!/bin/sh\necho \"$CAPD_GROUP $CAPD_STATE $CAPD_RESIDENT_BYTES $CAPD_CAP_BYTES\" >> {out}\n")
    os.chmod(hook, 0o755)
    t.workload("member", 30, executable=exe)
    d = t.daemon(f"[Daemon]\nSampleInterval=1s\n[Group h]\nExe={exe}\nCap=10M\nAction=observe\nHook={hook}\n")
    d.wait_state("h", "observed")
    t.wait(lambda: "h observed" in read(out, ""), "the hook to be run")
    line = [x for x in read(out).splitlines() if x.startswith("h observed")][0].split()
    t.equal(line[3], str(10 << 20), "CAPD_CAP_BYTES")
    t.check(int(line[2]) > 25 << 20, f"CAPD_RESIDENT_BYTES {line[2]}")
    t.wait(lambda: len(children(d.pid)) == 1, "the hook to be reaped")


def test_ordinary_between_counts(t):
    """Who holds a lock comes before others, but only then: the threads of capd are ordinary ones when there is nothing to do."""
    exe = t.executable_copy()
    t.workload("private", 64, executable=exe)
    d = t.daemon(f"[Daemon]\nSampleInterval=1s\n[Group me]\nExe={exe}\nCap=1G\nAction=observe\n")
    d.wait_group("me", lambda g: g["quality"] == "exact", "the group to be counted")

    def policies():
        found = set()
        for tid in os.listdir(f"/proc/{d.pid}/task"):
            try:
                found.add(os.sched_getscheduler(int(tid)))
            except ProcessLookupError:
                pass
        return found

    t.wait(lambda: policies() == {os.SCHED_OTHER}, "all threads to be ordinary ones")


def test_journal_prefix_is_for_the_journal(t):
    """A service's JOURNAL_STREAM is inherited by what it starts with a standard error of its own: no "<6>" there."""
    capd = t.daemon("[Group g]\nComm=nobody-has-it\nCap=1G\n", env={"JOURNAL_STREAM": "1:1"})
    t.check("capd: Watching" in capd.log(), f"log: {capd.log()!r}")
