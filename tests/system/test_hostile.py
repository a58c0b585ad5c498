# SPDX-License-Identifier: MIT
"""Names that other people choose: shown, but never obeyed by a terminal, a log or a JSON reader."""
import json
import os
import re

import harness

# comm holds 15 bytes
COMMS = [b"\x1b[31mred\x07", b"two\nlines", b"tab\there", b") R 1 1 1 (", b"\xff\xfe\xc3(", b"a\"b\\c'd$`|;", b"  spaces  ",
         b"[kthreadd]", b"\xe2\x80\xae\xd7\xa9rtl", b"\x7f\x08\x08\x0d", b"%s%n%x", b"<b>&amp;"]
FILE = b"exe \x1b]0;title\x07\n[x] \xff (deleted)"
ARGUMENT = b"\x1b[2J\nroot 1 0.0 fake\xff"

UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\udc80-\udcff\u202a-\u202e\u2066-\u2069]")


def crowd(t):
    """Processes with every hostile comm, path and argument."""
    exe = t.executable_copy(FILE)
    found = []
    for comm in COMMS:
        p = harness.Process(t, [b"\x1b[7margv0\n", b"--comm", comm, b"--seed", ARGUMENT, b"member", b"2"], executable=exe)
        found.append(p.ready())
    return found


def safe(t, text, what, lines=None):
    bad = UNSAFE.search(text)
    t.check(not bad, f"{what}: unsafe character at {bad and bad.start()}: {text[max(0, bad.start() - 40) if bad else 0:][:80]!r}")
    if lines is not None:
        t.equal(len(text.splitlines()), lines, f"lines of {what}")


def test_hostile_process_names(t):
    """Issue list 8."""
    processes = crowd(t)
    d = t.daemon(f"[Daemon]\nSampleInterval=1s\nCPUBudget=50%\n[Group crowd]\nUid=0\nExe={t.tmp}/exe*\nCap=10M\n"
                 "Description=\"a [31m group\"\n")
    group = d.wait_group("crowd", lambda g: g["processes"] == len(COMMS), "all hostile processes to be seen")
    t.check(group["resident"], "they are counted")
    safe(t, d.ctl("status").stdout, "status")
    safe(t, d.ctl("ps", "crowd").stdout, "ps")
    safe(t, d.ctl("ps", "-r", "-n", "crowd").stdout, "ps --raw", lines=len(COMMS))
    safe(t, d.ctl("explain", "crowd").stdout, "explain")
    for verb in ("status", "ps", "explain"):
        text = d.ctl(verb, "-J", *([] if verb == "status" else ["crowd"])).stdout
        safe(t, text, f"{verb} -J")
        json.loads(text)
    listed = json.loads(d.ctl("ps", "-J", "crowd").stdout)["processes"]
    t.equal(sorted(x["pid"] for x in listed), sorted(p.pid for p in processes), "numbers in ps")
    safe(t, d.log(), "log")
    t.equal(d.stop(), 0, "exit status")
    safe(t, d.log(), "log after the end")


def test_hostile_names_in_measure(t):
    processes = crowd(t)
    for extra in ([], ["-J"]):
        done = t.capctl("measure", *extra, *[p.pid for p in processes])
        safe(t, done.stdout + done.stderr, f"measure {extra}")
    counted = t.measure(*[p.pid for p in processes])
    t.equal(counted["processes"], len(COMMS), "processes: none was lost over its name")
    t.equal(counted["quality"], "exact", "quality")
    t.check(counted["anon"] >= len(COMMS) * 2 * harness.MIB, f"anon {counted['anon']}")


def test_hostile_names_from_the_command_line(t):
    """What a user types comes back in messages, made safe."""
    for arguments in (["measure", "--comm", "\x1b[31mx"], ["measure", "12\n34"], ["check", f"{t.tmp}/\x1b[31m"],
                      ["\x1b[31mverb"], ["status", "--\x1b[5mblink"]):
        done = t.capctl("--runtime-directory", t.tmp, *arguments, check=None)
        t.check(done.returncode in (1, 2, 3), f"{arguments}: status {done.returncode}")
        safe(t, done.stdout + done.stderr, f"capctl {arguments}")


def test_selecting_by_hostile_comm(t):
    """Brackets and backslashes are pattern characters; they must be matched when escaped, and not when not."""
    exe = t.executable_copy("plain")
    t.workload("member", 2, comm="[kthreadd]", executable=exe)
    t.workload("member", 2, comm="k", executable=exe)
    d = t.daemon("[Daemon]\nSampleInterval=1s\n"
                 f"[Group literal]\nExe={exe}\nComm=\\[kthreadd]\nCap=1G\nAction=observe\n"
                 f"[Group class]\nExe={exe}\nComm=[kthreadd]\nCap=1G\nAction=observe\n")
    t.wait(lambda: {n: g["processes"] for n, g in d.groups().items()} == {"literal": 1, "class": 1},
           "one process in each group")


def test_kernel_threads_are_in_no_group(t):
    d = t.daemon("[Daemon]\nSampleInterval=1s\n[Group k]\nComm=kthreadd ksoftirqd* kworker*\nCap=1G\nAction=observe\n")
    t.need(os.path.exists("/proc/2/comm") and harness.read("/proc/2/comm").strip() == "kthreadd", "no kernel threads here")
    group = d.group("k")
    t.check(group is None or group["processes"] == 0, f"kernel threads were taken: {group}")
