# SPDX-License-Identifier: MIT
"""The first five minutes: what a stranger is told who has no daemon, no rights, no groups or a mistake in the file; the installed
example; and a configuration proposed by looking at the host."""
import os
import re
import shutil
import signal
import subprocess

import harness
from harness import CAPCTL, CAPD, MIB

NOBODY = 65534
TREE = os.path.join(harness.HERE, "..", "..", "etc", "capd.conf")


def one_line(t, done, status, *words):
    t.equal(done.returncode, status, f"status ({done.stderr.strip()})")
    t.equal(len(done.stderr.strip().splitlines()), 1, f"lines of {done.stderr!r}")
    for word in words:
        t.check(word in done.stderr, f"{word!r} is not in {done.stderr!r}")


def as_nobody(t, *argv):
    for program in (CAPCTL, CAPD):
        copy = f"{t.tmp}/{os.path.basename(program)}"
        if not os.path.exists(copy) and os.path.exists(program):
            shutil.copy(program, copy)
            os.chmod(copy, 0o755)
    t.need(os.path.exists(f"{t.tmp}/{os.path.basename(CAPCTL)}"), "capctl by path")
    return t.run(f"{t.tmp}/{os.path.basename(CAPCTL)}", *argv, user=NOBODY, group=NOBODY, extra_groups=[])


def test_no_daemon(t):
    where = ["--runtime-directory", f"{t.tmp}/none"]
    for verb in ([], ["status"], ["status", "-w", "1"], ["explain", "x"], ["ps", "x"], ["top"], ["stat", "1"], ["reload"]):
        if verb == ["top"]:
            continue  # needs a terminal: test_top
        one_line(t, t.run(CAPCTL, *where, *verb), 3, "capd is not running", where[1])
    t.need(not os.path.exists("/run/capd/control"), "a capd runs on this host")
    # without a service manager as with one, the line says how to start it
    one_line(t, t.run(CAPCTL), 3, "capd is not running", " starts it")


def test_no_rights(t):
    d = t.daemon("[Group a]\nComm=nobody-has-it\nCap=1G\n")
    where = ["--runtime-directory", d.runtime]
    t.equal(as_nobody(t, *where, "status").returncode, 0, "everybody may look")
    one_line(t, as_nobody(t, *where, "pause"), 1, "root")
    one_line(t, as_nobody(t, *where, "config"), 1, "root")
    one_line(t, as_nobody(t, "measure", "1"), 1, "root")
    one_line(t, as_nobody(t, "suggest", "--for", "1"), 1, "run suggest as root")
    os.chmod(d.directory, 0o700)
    one_line(t, as_nobody(t, *where, "status"), 1, "no permission", "as root")
    os.chmod(d.directory, 0o755)


def test_no_groups(t):
    d = t.daemon("", wait=False)
    t.wait(lambda: "Watching" in d.log() and d.try_status() is not None, "capd to answer")
    t.wait(lambda: "No groups" in d.ctl("status").stderr, "status to tell that there are no groups")
    for verb in ("status", "stat"):
        one_line(t, d.ctl(verb), 0, "[Group NAME]", "capctl reload", "capctl suggest")


def test_failed_reload(t):
    d = t.daemon("[Group a]\nComm=nobody-has-it\nCap=1G\n")
    d.write_config("[Group a]\nComm=nobody-has-it\nCap=lots\n")
    d.ctl("reload", check=1)
    t.wait(lambda: "last reload failed" in d.ctl("status").stderr, "status to tell of it")
    told = d.ctl("status").stderr.splitlines()
    t.check(any("last reload failed" in line and "run 'capctl reload'" in line for line in told), f"what to do: {told}")
    t.check(any(line.startswith(f"{d.config}:3: ") for line in told), f"where: {told}")


def examples(text):
    """The installed file's examples: each section with its lines, uncommented."""
    found = []
    for line in text.splitlines():
        if re.match(r"#\[", line):
            found.append([])
        if found and re.match(r"#\S", line):
            found[-1].append(line[1:])
    return ["\n".join(lines) + "\n" for lines in found]


def check_text(t, text):
    path = f"{t.tmp}/example.conf"
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, 0o644)
    return t.run(CAPCTL, "check", path)


def test_installed_example(t):
    """Each example is right when its comment signs are taken away, alone and all together; as installed there is no group."""
    path = TREE if os.path.exists(TREE) else "/etc/capd.conf"
    t.need(os.path.exists(path), "no example of a configuration")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    t.need("#[Daemon]" in text, f"{path} is not the installed one any more")
    t.equal(check_text(t, text).stdout, "0 groups\n", "as installed")
    # a user that is on every host
    found = [e.replace("User=postgres", "User=nobody") for e in examples(text)]
    t.check(len(found) >= 8, f"{len(found)} examples")
    for example in [*found, "".join(found)]:
        done = check_text(t, example)
        t.equal(done.returncode, 0, f"status of\n{example}{done.stderr}")
        if example.startswith("[Group"):
            t.equal(done.stdout, "1 group\n", f"groups of\n{example}")


def proposed(text):
    """{group: {key: value}}"""
    sections = {}
    for line in text.splitlines():
        if line.startswith("[Group "):
            section = sections[line[7:-1]] = {}
        elif "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section[key] = value
    return sections


def size(text):
    return int(text[:-1]) << {"M": 20, "G": 30}[text[-1]]


def own_unit():
    """The unit of the system in which the tests run, as in a guest; or None."""
    for line in harness.read("/proc/self/cgroup").splitlines():
        found = re.findall(r"[^/]+\.(?:service|scope)", line.split(":", 2)[2])
        if found and "/user.slice" not in line:
            return found[-1]
    return None


def test_suggest(t):
    """What it prints is a configuration, with a cap of at least a quarter above what is held, for a family and for a user."""
    odd = t.executable_copy("a family's # [name]")
    t.workload("family", 128, 10, executable=odd)
    t.workload("member", 160, executable=t.executable_copy("other"), user=1234, group=1234, extra_groups=[])
    done = t.capctl("suggest", "--for", "2")
    t.equal(done.stderr, "", "standard error")
    t.equal(check_text(t, done.stdout).returncode, 0, f"check of\n{done.stdout}")
    groups = proposed(done.stdout)
    t.check(all(g["Action"] == "observe" for g in groups.values()), f"nothing is enforced:\n{done.stdout}")
    unit = own_unit()
    family = [g for g in groups.values() if (g.get("Unit") == unit if unit else
                                             re.fullmatch(re.escape(t.tmp) + r"/a.family.s....name.", g.get("Exe", "")))]
    t.equal(len(family), 1, f"groups of the family in\n{done.stdout}")
    # 128 MiB that eleven processes share, and some of their own: a quarter more, and far less than the sum of RSS
    t.check(160 * MIB <= size(family[0]["Cap"]) < 800 * MIB, f"cap of the family: {family}")
    users = [g for g in groups.values() if g.get("ForEach") == "user"]
    t.equal(len(users), 1, f"groups for users in\n{done.stdout}")
    t.check(size(users[0]["Cap"]) >= 200 * MIB, f"cap of a user: {users}")
    # capd sees what was seen here, and finds it under the caps
    d = t.daemon(done.stdout)
    name = next(n for n, g in groups.items() if g is family[0])
    seen = d.wait_group(name, lambda g: g["processes"] >= 11 and g["quality"] == "exact", "the family to be counted")
    t.check(seen["resident"] * 1.2 < seen["cap"], f"under its cap, with room: {seen}")
    t.wait(lambda: any(g.startswith("login/") for g in d.groups()), "a group of the user")


def test_suggest_ends_early(t):
    child = subprocess.Popen([CAPCTL, "suggest", "--for", "1h"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    t.cleanup(lambda: child.poll() is not None or child.kill())
    # when it sleeps for signals it has set its handlers and looked once
    t.wait(lambda: "nanosleep" in harness.read(f"/proc/{child.pid}/wchan", ""), "the first look to be over")
    child.send_signal(signal.SIGINT)
    text = child.communicate(timeout=60 * harness.SLOW)[0].decode()
    t.equal(child.returncode, 0, "status")
    t.equal(check_text(t, text).returncode, 0, f"check of\n{text}")
