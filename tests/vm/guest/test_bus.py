# SPDX-License-Identifier: MIT
"""org.capd1 on the system bus of a stock system: dbus-daemon, polkit and systemd as the release has them."""
import json
import os
import re
import subprocess

import busman
from harness import read

MANAGER = ("org.capd1", "/org/capd1", "org.capd1.Manager")
RULES = "/etc/polkit-1/rules.d/50-capd-test.rules"
CONFIG = "[Daemon]\nSampleInterval=1s\n[Group postgres]\nComm=nosuchprogram\nCap=8G\nAction=observe\n"


def serve(t):
    """capd.service with two groups, on the bus."""
    t.need(t.run("sh", "-c", "command -v busctl").returncode == 0, "no busctl")
    _, unit = t.unit_workload("member", 20)
    capd = t.service(f"{CONFIG}[Group web]\nUnit={unit.name}\nCap=2G\nAction=observe\n")
    capd.wait_group("web", lambda g: g["processes"] == 1 and g["quality"] == "exact", "the group to be counted")
    t.wait(lambda: named(t), "the name on the bus")
    return capd


def named(t):
    return t.run("busctl", "status", "org.capd1").returncode == 0


def call(t, *arguments, user=None, **options):
    who = {} if user is None else {"user": t.uid(user), "group": t.uid(user), "extra_groups": []}
    return t.run("busctl", "call", *MANAGER, *arguments, **who, **options)


class Monitor:
    """busctl monitor, from now on."""

    def __init__(self, t, *arguments):
        self.path = os.path.join(t.tmp, f"monitor-{len(t.stack)}")
        with open(self.path, "wb") as f:
            child = subprocess.Popen(["busctl", "monitor", *arguments], stdin=subprocess.DEVNULL, stdout=f, stderr=f)

        def end():
            child.kill()
            child.wait()
        t.cleanup(end)
        t.wait(lambda: "Monitoring" in self.text(), "busctl monitor")

    def text(self):
        return read(self.path, "")


def test_manual(t):
    """What the bus shows is what org.capd1(5) says, on this release. Its transcripts are in test_transcripts.py."""
    serve(t)
    text = busman.page()
    t.need(text, "no org.capd1(5) is installed")
    seen = [t.run("busctl", "introspect", "--xml-interface", "org.capd1", path, check=0).stdout
            for path in ("/org/capd1", "/org/capd1/group/web")]
    t.equal(busman.differences(text, *seen), [], "differences")


def test_monitor(t):
    """PropertiesChanged with what has changed."""
    serve(t)
    figures = Monitor(t, "--match", "member=PropertiesChanged,path=/org/capd1/group/web")
    call(t, "Pause", "s", "web", check=0)

    def announced():
        return set(re.findall(r'DICT_ENTRY "sv" \{\s*STRING "(\w+)"', figures.text()))
    t.wait(lambda: {"State", "Paused", "Reason"} <= announced(), "PropertiesChanged")
    told = announced()
    t.equal([n for n in told if busman.moves_by_itself(n)], [], "announced, though they move by themselves")
    t.check("ConfiguredCap" not in told, f"announced: {sorted(told)}")


def test_polkit(t):
    """A user may what polkit's rules allow, and the journal says who it was."""
    capd = serve(t)
    refused = call(t, "Pause", "s", "web", user="alice")
    t.equal(refused.returncode, 1, f"Pause() by alice ({refused.stdout})")
    t.note(refused.stderr.strip())
    t.check(re.search("nteractive auth|Access denied|must authenticate", refused.stderr), refused.stderr)
    t.equal(capd.group("web")["state"], "ok", "state")
    # those who may not have themselves asked are told another thing than those who may not at all
    quiet = t.run("busctl", "--allow-interactive-authorization=no", "call", *MANAGER, "Pause", "s", "web", user=t.uid("alice"),
                  group=t.uid("alice"), extra_groups=[])
    t.equal(quiet.returncode, 1, "Pause() by alice, not to be asked")
    t.cleanup(lambda: os.path.exists(RULES) and os.unlink(RULES))
    with open(RULES, "w", encoding="ascii") as f:
        f.write('polkit.addRule(function(action, subject) {\n'
                '    if (action.id == "org.capd1.manage" && subject.user == "alice") return polkit.Result.YES;\n'
                '    if (action.id == "org.capd1.manage" && subject.user == "bob") return polkit.Result.NO;\n});\n')
    os.chmod(RULES, 0o644)
    t.wait(lambda: call(t, "Pause", "s", "web", user="alice").returncode == 0, "the rule to be in force")
    t.equal(capd.group("web")["state"], "paused", "state after alice's Pause()")
    t.check("Access denied" in call(t, "Resume", "s", "web", user="bob").stderr, "Resume() by bob")
    t.equal(capd.group("web")["state"], "paused", "state after bob's Resume()")
    t.equal(call(t, "Resume", "s", "web", user="alice", check=0).stdout, 's "web is resumed"\n', "Resume() by alice")
    t.equal(call(t, "SetCap", "stt", "web", str(1 << 30), "0", user="alice").returncode, 0, "SetCap() by alice")
    asked = {e.get("CAPD_UID") for e in capd.journal() if e["MESSAGE"].startswith("Group web: paused by")}
    t.equal(asked, {str(t.uid("alice"))}, "who paused it, by the journal")
    t.equal(call(t, "Reload", user="alice", check=0).stdout, 's "reloaded: 2 groups"\n', "Reload() by alice")
    t.equal(capd.group("web")["cap"], 2 << 30, "cap after the reload")


def test_without_polkit(t):
    """Root only, said so; and root needs none."""
    capd = serve(t)
    t.run("systemctl", "mask", "--runtime", "--now", "polkit.service", check=0)
    t.cleanup(t.run, "systemctl", "unmask", "--runtime", "polkit.service")
    t.equal(call(t, "Pause", "s", "web", user="alice").returncode, 1, "Pause() by alice")
    t.check("polkit cannot be asked" in capd.log(), f"the journal: {capd.log()}")
    t.equal(capd.group("web")["state"], "ok", "state")
    t.equal(call(t, "Pause", "s", "web", check=0).stdout, 's "web is paused"\n', "Pause() by root")


def test_reading_is_open(t):
    """GetManagedObjects() and Measure() by anybody; foreign interfaces and names by nobody."""
    serve(t)
    alice = {"user": t.uid("alice"), "group": t.uid("alice"), "extra_groups": []}
    done = t.run("busctl", "--json=short", "call", "org.capd1", "/org/capd1", "org.freedesktop.DBus.ObjectManager",
                 "GetManagedObjects", check=0, **alice)
    objects = json.loads(done.stdout)["data"][0]
    t.equal(sorted(objects), ["/org/capd1/group/postgres", "/org/capd1/group/web"], "objects")
    t.equal(objects["/org/capd1/group/web"]["org.capd1.Group"]["Processes"]["data"], 1, "processes")
    t.check(call(t, "Measure", "s", "web", user="alice").stdout.startswith("a{sv}"), "Measure() by alice")
    # the policy of the bus lets through what capd serves
    done = t.run("busctl", "call", "org.capd1", "/org/capd1", "org.example.Other", "Anything", **alice)
    t.check("Access denied" in done.stderr or "not allowed" in done.stderr.lower() or "ejected" in done.stderr, done.stderr)


def test_dbus_restarted(t):
    """The same capd serves the next bus, and capctl all the while."""
    capd = serve(t)
    pid = capd.pid()
    t.run("systemctl", "restart", "dbus.service", check=0)
    t.check(capd.group("web"), "capctl right after")
    t.wait(lambda: named(t), "the name on the new bus")
    t.equal(call(t, "Pause", "s", "web", check=0).stdout, 's "web is paused"\n', "Pause() on the new bus")
    t.equal(capd.pid(), pid, "the engine")
    t.equal(capd.property("NRestarts"), "0", "restarts")
    # what else lives on the bus, for the tests that follow: logind does not come back by itself
    t.run("systemctl", "restart", "systemd-logind.service")
    t.wait(lambda: t.run("loginctl", "list-sessions").returncode == 0, "logind on the new bus")
