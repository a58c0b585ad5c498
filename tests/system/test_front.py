# SPDX-License-Identifier: MIT
"""The front: unprivileged, replaceable, and never able to delay the engine."""
import os
import signal
import socket
import time

import harness
from harness import children, read

CONFIG = ("[Daemon]\nSampleInterval=1s\nCPUBudget=50%\n[Group me]\nComm=frontmember\nCap=1G\nAction=observe\n")
NOBODY = 65534


def started(t):
    p = t.workload("member", 8, comm="frontmember", executable=t.executable_copy())
    d = t.daemon(CONFIG)
    d.wait_group("me", lambda g: g["processes"] == 1 and g["quality"] != "unknown", "the group to be measured")
    return d, p


def capabilities(pid):
    return {k: int(v, 16) for k, v in (line.split(":\t") for line in read(f"/proc/{pid}/status").splitlines()
                                      if line.startswith("Cap"))}


def test_front_has_no_privileges(t):
    d, _ = started(t)
    fronts = d.fronts()
    t.equal(len(fronts), 1, "children of the engine")
    front = fronts[0]
    status = read(f"/proc/{front}/status")
    # What is left in the bounding set cannot be had: there is nothing to gain it from under no_new_privs.
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        t.equal(capabilities(front)[name], 0, f"{name} of the front")
    t.check("NoNewPrivs:\t1" in status, "no_new_privs of the front")
    uids = [line.split()[1:] for line in status.splitlines() if line.startswith("Uid:")][0]
    t.check("0" not in uids, f"user of the front: {uids}")
    gids = [line.split()[1:] for line in status.splitlines() if line.startswith(("Gid:", "Groups:"))]
    t.check(all("0" not in g for g in gids), f"groups of the front: {gids}")
    # The engine keeps what capd(8) lists and nothing beyond: never all of root's rights.
    engine = capabilities(d.pid)
    t.check(engine["CapEff"] != capabilities(os.getpid())["CapEff"], "the engine dropped nothing")
    t.check(engine["CapEff"] >> 21 & 1, "the engine keeps CAP_SYS_ADMIN, without which no frame is seen")


def test_front_killed(t):
    """Issue list 9: ticks go on, capctl works again."""
    d, _ = started(t)
    for round in range(3):
        front = d.fronts()[0]
        os.kill(front, signal.SIGKILL)
        began = time.monotonic()
        t.wait(lambda: front not in d.fronts() and d.try_status() is not None, "capctl to work again", step=0.02)
        t.note(f"capctl worked again after {time.monotonic() - began:.2f} s")
        fresh = d.wait_group("me", lambda g: g["processes"] == 1, "the group to be known")
        t.check(fresh["resident"], f"round {round}: {fresh}")
    t.check(d.child.poll() is None, "the engine runs")
    t.equal(len(d.fronts()), 1, "fronts")
    t.equal(d.stop(), 0, "exit status")


def test_front_stopped(t):
    """A front that hangs does not hold up the engine, nor its end, and is replaced."""
    d, _ = started(t)
    front = d.fronts()[0]
    os.kill(front, signal.SIGSTOP)
    cpu = harness.cpu_seconds(d.pid)
    time.sleep(4)
    t.wait(lambda: harness.cpu_seconds(d.pid) > cpu, "the engine to do something while its front hangs")
    # Who asks meanwhile waits for the one that comes after it.
    t.check(d.try_status() is not None, "what capctl says to who asks while the front hangs")
    t.check(front not in d.fronts(), "the front that hangs is still there")
    os.kill(d.fronts()[0], signal.SIGSTOP)
    t.equal(d.stop(), 0, "exit status with a front that hangs")


def connect(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(2)
    s.connect(path)
    return s


def test_front_flooded(t):
    """Issue list 9: garbage, half sentences and hundreds of silent clients."""
    d, _ = started(t)
    path = f"{d.runtime}/control"
    open_ones = []
    t.cleanup(lambda: [s.close() for s in open_ones])
    garbage = [b"", b"\0", b"\0AUTH EXTERNAL\r\n", b"\0AUTH " + b"A" * 70000, os.urandom(4096),
               b"\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n" + os.urandom(65536),
               b"\0AUTH EXTERNAL 30\r\nBEGIN\r\nl\x01\0\x01\xff\xff\xff\x7f\x01\0\0\0\xff\xff\xff\x7f", b"GET / HTTP/1.1\r\n\r\n"]
    refused = 0
    for i in range(600):
        try:
            s = connect(path)
            s.settimeout(0.2)
            s.sendall(garbage[i % len(garbage)])
            if i % 3 == 0 or len(open_ones) > 300:
                s.close()
            else:
                open_ones.append(s)
        except OSError:
            refused += 1
    t.note(f"{refused} of 600 connections refused or cut, {len(open_ones)} held open")
    cpu = harness.cpu_seconds(d.pid)
    t.wait(lambda: harness.cpu_seconds(d.pid) > cpu, "the engine to do something while its front is flooded")
    t.check(d.child.poll() is None, "the engine runs")
    for s in open_ones:
        s.close()
    open_ones.clear()
    began = time.monotonic()
    t.wait(lambda: d.try_status() is not None, "capctl to work again", step=0.02)
    t.note(f"capctl worked {time.monotonic() - began:.2f} s after the flood")
    group = d.wait_group("me", lambda g: g["age_usec"] is not None and g["quality"] != "unknown", "a fresh figure")
    t.equal(group["processes"], 1, "processes")
    for pid in d.fronts():
        t.check(harness.vm(pid)["VmRSS"] < 64 * harness.MIB * harness.SLOW, f"the front grew to {harness.vm(pid)['VmRSS']}")
    t.equal(d.stop(), 0, "exit status")


def test_reading_is_open_and_changing_is_not(t):
    d, _ = started(t)
    t.need(os.path.exists(harness.CAPCTL), "capctl by path")
    capctl = f"{t.tmp}/capctl"
    t.run("cp", harness.CAPCTL, capctl, check=0)
    t.run("chmod", "755", capctl, check=0)

    def as_nobody(*arguments):
        return t.run(capctl, "--runtime-directory", d.runtime, *arguments, user=NOBODY, group=NOBODY, extra_groups=[])
    shown = as_nobody("status", "-J")
    t.equal(shown.returncode, 0, f"status for everybody ({shown.stderr.strip()})")
    t.check("me" in shown.stdout, "the group is shown to everybody")
    for verb in (["pause"], ["resume"], ["cap", "me", "12M"], ["enforce", "me"], ["reload"]):
        done = as_nobody(*verb)
        t.equal(done.returncode, 1, f"{verb} for nobody ({done.stderr.strip()})")
        t.equal(len(done.stderr.strip().splitlines()), 1, f"lines of the error of {verb}: {done.stderr!r}")
    t.equal(d.group("me")["cap"], 1 << 30, "cap after all that")
    t.equal(d.group("me")["state"], "ok", "state after all that")


def test_nobody_can_starve_root(t):
    """One user's connections are limited; root still gets in."""
    d, _ = started(t)
    hold = ("import socket,sys,time\nheld=[]\nfor i in range(400):\n try:\n  s=socket.socket(socket.AF_UNIX)\n  s.settimeout(1)\n"
            "  s.connect(sys.argv[1])\n  held.append(s)\n except OSError: pass\nprint(len(held),flush=True)\nsys.stdin.read()\n")
    import subprocess
    other = subprocess.Popen(["python3", "-c", hold, f"{d.runtime}/control"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             user=NOBODY, group=NOBODY, extra_groups=[])

    def end():
        other.stdin.close()
        other.wait()
        other.stdout.close()
    t.cleanup(end)
    t.note(f"nobody holds {other.stdout.readline().decode().strip()} connections")
    t.wait(lambda: d.try_status() is not None, "capctl of root to get through")


def test_one_of_many_clients(t):
    """Many at the same time, each answered."""
    d, _ = started(t)
    import subprocess
    crowd = [subprocess.Popen([harness.CAPCTL, "--runtime-directory", d.runtime, "status", "-J"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) for _ in range(20)]
    t.equal([c.wait(120 * harness.SLOW) for c in crowd], [0] * 20, "exit status of twenty clients")
    t.equal(children(d.pid), d.fronts(), "one front")
