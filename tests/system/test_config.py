# SPDX-License-Identifier: MIT
"""Bad configurations: nothing half works, neither at start (status 78) nor at reload (the old policy stays)."""
import os
import re
import stat

import harness
from harness import CAPD, CAPCTL

GOOD = "[Daemon]\nSampleInterval=1s\n[Group good]\nComm=nobody-has-it\nCap=64M\nAction=observe\n"

# name, text, line of the first problem (None: any), a word of the message (as a pattern)
BAD_TEXTS = [
    ("unknown key", "[Group a]\nComm=x\nCapp=1G\n", 3, r"Capp.*Cap"),
    ("unknown key of the daemon", "[Daemon]\nSampleIntervall=5s\n", 2, r"SampleIntervall.*SampleInterval"),
    ("key of the other section", "[Daemon]\nCap=1G\n", 2, r"Cap"),
    ("unknown section", "[Grup a]\nComm=x\nCap=1G\n", 1, r"Grup"),
    ("key before any section", "Cap=1G\n[Group a]\nComm=x\nCap=1G\n", 1, r"Cap"),
    ("group without a name", "[Group]\nComm=x\nCap=1G\n", 1, r"(?i)name"),
    ("bad size", "[Group a]\nComm=x\nCap=8X\n", 3, r"8X"),
    ("negative size", "[Group a]\nComm=x\nCap=-1G\n", 3, r"-1G"),
    ("size that overflows", "[Group a]\nComm=x\nCap=99999999999999999999G\n", 3, r"9999"),
    ("size with a tail", "[Group a]\nComm=x\nCap=1G extra\n", 3, r"extra|1G"),
    ("no number", "[Group a]\nComm=x\nCap=lots\n", 3, r"lots"),
    ("percentage over 100", "[Group a]\nComm=x\nCap=101%\n", 3, r"101"),
    ("cap of nothing", "[Group a]\nComm=x\nCap=0\n", 3, r"0"),
    ("bad time", "[Daemon]\nSampleInterval=5 parsecs\n", 2, r"parsecs"),
    ("time below the limit", "[Daemon]\nSampleInterval=1ms\n", 2, r"1ms"),
    ("bad word", "[Group a]\nComm=x\nCap=1G\nAction=pagout\n", 4, r"pagout.*pageout"),
    ("bad ForEach", "[Group a]\nUid=1-2\nForEach=usr\nCap=1G\n", 3, r"usr.*user"),
    ("unknown user", "[Group a]\nUser=no-such-user-here\nCap=1G\n", 2, r"no-such-user-here"),
    ("bad uid range", "[Group a]\nUid=9-1\nCap=1G\n", 2, r"9-1"),
    ("uid that is no number", "[Group a]\nUid=root\nCap=1G\n", 2, r"root"),
    ("relative path", "[Group a]\nPidFile=run/x.pid\nCap=1G\n", 2, r"run/x.pid"),
    ("no selector", "[Group a]\nCap=1G\n", 1, r"a"),
    ("missing cap", "[Group a]\nComm=x\n", 1, r"Cap"),
    ("duplicate group", "[Group a]\nComm=x\nCap=1G\n[Group b]\nComm=y\nCap=1G\n[Group a]\nComm=z\nCap=2G\n", 7, r"a"),
    ("hostile group name", "[Group a\x1b[31mb]\nComm=x\nCap=1G\n", 1, r"x1b|033|name|control"),
    ("slash in a group name", "[Group a/b]\nComm=x\nCap=1G\n", 1, r"a/b"),
    ("line too long", "[Group a]\nComm=" + "x" * 9000 + "\nCap=1G\n", 2, r"(?i)long"),
    ("NUL byte", "[Group a]\nComm=x\nCap=1G\0\nAction=observe\n", 3, r"(?i)nul|\\x00"),
    ("NUL byte that hides the rest", "[Group a]\nComm=x\n\0Cap=bad\n", 3, r"(?i)nul|\\x00"),
    ("truncated section", "[Group a]\nComm=x\nCap=1G\n[Group b", 4, r"(?i)\]|bracket|section|header"),
    ("truncated key", "[Group a]\nComm=x\nCap=1G\nActi", 4, r"Acti"),
    ("unbalanced quotes", "[Group a]\nComm=\"x\nCap=1G\n", 2, r"(?i)quot"),
    ("thousands of sections", "".join(f"[Group g{i}]\nComm=x{i}\nCap=1G\n" for i in range(5000)), None, r"4096|(?i:too many)"),
    ("invalid UTF-8", b"[Group a]\nComm=x\nCap=1G\n\xff\xfe=1\n", 4, r"xff|(?i:utf-8)|(?i:key)"),
]


def problems_of(text, path):
    """The lines FILE:LINE: MESSAGE; a log line of capd may begin with its name."""
    lines = [line.removeprefix("capd: ") for line in text.splitlines()]
    return [line for line in lines if line.startswith(path + ":")]


def start(t, path):
    return t.run(CAPD, "-c", path, "--runtime-directory", f"{t.tmp}/run")


def write(path, content):
    with open(path, "wb") as f:
        f.write(content if isinstance(content, bytes) else content.encode())
    os.chmod(path, 0o644)


def test_bad_texts_at_start(t):
    """Exit status 78, FILE:LINE: MESSAGE, nothing printed raw, and capctl check says the same."""
    path = f"{t.tmp}/bad.conf"
    wrong = []
    for name, text, line, words in BAD_TEXTS:
        write(path, text)
        done = start(t, path)
        found = problems_of(done.stderr, path)
        if done.returncode != 78:
            wrong.append(f"{name}: status {done.returncode}, not 78")
        elif not found:
            wrong.append(f"{name}: no FILE: line in {done.stderr!r}")
        elif line is not None and not any(f.startswith(f"{path}:{line}: ") for f in found):
            wrong.append(f"{name}: no {path}:{line}: in {found[:3]}")
        elif not any(re.search(words, f) for f in found):
            wrong.append(f"{name}: nothing about {words} in {found[:3]}")
        if re.search("[\x00-\x08\x0b-\x1f\x7f]", done.stderr):
            wrong.append(f"{name}: control characters in the message {done.stderr[:300]!r}")
        checked = t.run(CAPCTL, "check", path)
        if checked.returncode != 1:
            wrong.append(f"{name}: capctl check ends with {checked.returncode}, not 1")
        elif not problems_of(checked.stderr + checked.stdout, path):
            wrong.append(f"{name}: capctl check names no file and line")
    t.check(not os.path.exists(f"{t.tmp}/run/control"), "a control socket is there although nothing started")
    t.check(not wrong, "\n".join(wrong))


def test_every_problem_in_one_run(t):
    path = f"{t.tmp}/bad.conf"
    write(path, "[Daemon]\nSampleInterval=soon\n[Group a]\nComm=x\nCap=lots\nActin=observe\n[Group b]\nUid=z\nCap=1G\n")
    found = problems_of(start(t, path).stderr, path)
    lines = [int(f[len(path) + 1:].split(":")[0]) for f in found]
    for line in (2, 5, 6, 8):
        t.check(line in lines, f"no problem of line {line} among {found}")


def test_files_that_are_no_configuration(t):
    """Directories, FIFOs, devices, other people's files, files others may write, files too big, files that are missing."""
    os.mkdir(f"{t.tmp}/directory")
    os.mkfifo(f"{t.tmp}/fifo")
    os.mknod(f"{t.tmp}/device", 0o644 | stat.S_IFCHR, os.makedev(1, 5))
    write(f"{t.tmp}/world", GOOD)
    os.chmod(f"{t.tmp}/world", 0o666)
    write(f"{t.tmp}/group", GOOD)
    os.chmod(f"{t.tmp}/group", 0o664)
    write(f"{t.tmp}/theirs", GOOD)
    os.chown(f"{t.tmp}/theirs", 65534, 65534)
    write(f"{t.tmp}/big", GOOD + "#" * (5 << 20))
    os.symlink(f"{t.tmp}/world", f"{t.tmp}/link")
    os.symlink(f"{t.tmp}/loop", f"{t.tmp}/loop")
    for name in ("directory", "fifo", "device", "world", "group", "theirs", "big", "link", "loop", "missing"):
        path = f"{t.tmp}/{name}"
        done = start(t, path)
        t.equal(done.returncode, 78, f"status with {name} ({done.stderr.strip()[-300:]})")
        t.check(path in done.stderr, f"{name} is not named: {done.stderr!r}")


def test_good_file_and_check(t):
    path = f"{t.tmp}/good.conf"
    write(path, GOOD)
    done = t.run(CAPCTL, "check", path, check=0)
    t.equal(done.stderr, "", "what check says of a good file on standard error")
    write(path, "")
    t.run(CAPCTL, "check", path, check=0)


def test_bad_reload_keeps_the_old_policy(t):
    d = t.daemon(GOOD)
    t.equal(list(d.groups()), ["good"], "groups")
    for name, text, line, _ in [b for b in BAD_TEXTS if b[0] in ("unknown key", "bad size", "NUL byte", "truncated section",
                                                                 "duplicate group", "thousands of sections")]:
        d.write_config(text)
        done = d.ctl("reload", check=1)
        where = f"{d.config}:{line}:" if line else d.config
        t.check(where in done.stderr, f"{name}: {where} is not in what reload says: {done.stderr[:500]!r}")
        t.equal(list(d.groups()), ["good"], f"{name}: groups after a bad reload")
        shown = d.ctl("status")
        t.check(d.config in shown.stdout + shown.stderr, f"{name}: status does not show the error: {shown}")
    t.check(d.config in d.log(), "the error is not in the log")
    t.check("good" in d.ctl("config").stdout, "the effective configuration is not the old one")
    # The same by signal, then a good file again.
    d.write_config("[Group a]\nnonsense\n")
    lines = d.log().count(f"{d.config}:2:")
    d.signal(harness.signal.SIGHUP)
    t.wait(lambda: d.log().count(f"{d.config}:2:") > lines, "SIGHUP to be logged as failed")
    t.equal(list(d.groups()), ["good"], "groups after a bad SIGHUP")
    os.unlink(d.config)
    d.ctl("reload", check=1)
    t.equal(list(d.groups()), ["good"], "groups after the file went away")
    d.write_config(GOOD.replace("good", "better"))
    d.signal(harness.signal.SIGHUP)
    t.wait(lambda: list(d.groups()) == ["better"], "SIGHUP to take a good file")
    shown = d.ctl("status")
    t.check(d.config not in shown.stdout + shown.stderr, "the error is still shown after a good reload")
    d.write_config(GOOD)
    d.ctl("reload")
    t.wait(lambda: list(d.groups()) == ["good"], "reload to take a good file")
    t.equal(d.stop(), 0, "exit status")


def test_effective_configuration_is_accepted_again(t):
    d = t.daemon(GOOD)
    text = d.ctl("config").stdout
    t.check(re.search(r"^Cap=64M\s+# " + re.escape(d.config) + r":5$", text, re.M), f"no origin of Cap=:\n{text}")
    t.check("# default" in text, "no defaults shown")
    write(f"{t.tmp}/again.conf", text)
    t.run(CAPCTL, "check", f"{t.tmp}/again.conf", check=0)


def test_for_each(t):
    """One group a user, named SECTION/VALUE."""
    exe = t.executable_copy("each")
    mine = t.workload("member", 8, executable=exe)
    theirs = t.workload("member", 8, executable=exe, user=65534, group=65534, extra_groups=[])
    d = t.daemon(f"[Daemon]\nSampleInterval=1s\n[Group all]\nExe={exe}\nForEach=uid\nCap=1G\nAction=observe\n")
    t.wait(lambda: set(d.groups()) == {"all/0", "all/65534"}, "a group for each user")
    theirs.end()
    # An empty group is kept for a while, so that its history does not end with each process.
    t.wait(lambda: d.groups().get("all/65534", {"processes": 0})["processes"] == 0, "the group to be empty")
    t.check(mine.child.poll() is None, "the other still runs")
