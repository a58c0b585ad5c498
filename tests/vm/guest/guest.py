# SPDX-License-Identifier: MIT
"""What the tests in a guest stand on: capd.service, units, users with sessions, swap, cgroups, the journal, and cleaning up.

A test is a function test_NAME(t) in a file test_TOPIC.py; t is a Test, which can do all that the one of the system tests
can. It begins with capd.service stopped, an empty configuration and no swap, and must end so: what it did through t is
undone, and whatever else is left fails it.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import time

import harness
from harness import MIB, SLOW, Client, Failure, read, state

CONFIG = "/etc/capd.conf"
RUNTIME = "/run/capd"
CGROUPS = "/sys/fs/cgroup"
DAMON = "/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds"
# Made with the image; nobody is logged in at the beginning.
USERS = ("alice", "bob", "carol")


def cgroup_of(pid):
    """The cgroup of a process as a path from the root: /system.slice/…"""
    return read(f"/proc/{pid}/cgroup").splitlines()[-1].partition("::")[2]


def cgroup_file(cgroup, name):
    return f"{CGROUPS}{cgroup}/{name}"


def cgroup_number(cgroup, name):
    """A single number of a cgroup; None for "max"."""
    text = read(cgroup_file(cgroup, name)).strip()
    return None if text == "max" else int(text)


def cgroup_table(cgroup, name):
    """memory.stat, memory.events and the like as a dictionary."""
    return {k: int(v) for k, v in (line.split() for line in read(cgroup_file(cgroup, name)).splitlines())}


def cgroup_pids(cgroup, below=False):
    """The processes in a cgroup, and with `below` in those below it."""
    pids = []
    for folder, folders, _ in os.walk(f"{CGROUPS}{cgroup}"):
        pids += [int(p) for p in read(f"{folder}/cgroup.procs", "").split()]
        if not below:
            break
    return pids


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("3\n")


class Service(Client):
    """capd.service. Configuration, capctl, journal."""

    def __init__(self, test):
        self.test = test
        self.runtime = RUNTIME
        self.cursor = None

    def ctl(self, *arguments, **options):
        return self.test.capctl(*arguments, **options)

    def configure(self, text):
        """Replaces the configuration as a whole, as an editor would, and nothing else."""
        with open(CONFIG + ".new", "wb") as f:
            f.write(text.encode())
        os.chmod(CONFIG + ".new", 0o644)
        os.rename(CONFIG + ".new", CONFIG)

    def systemctl(self, verb, check=0):
        return self.test.run("systemctl", verb, "capd.service", check=check)

    def start(self, text=None):
        if text is not None:
            self.configure(text)
        self.systemctl("start")
        self.test.wait(lambda: self.answers(), "capd.service to answer")

    def reload(self, text=None):
        if text is not None:
            self.configure(text)
        self.systemctl("reload")

    def restart(self, text=None):
        if text is not None:
            self.configure(text)
        self.systemctl("restart")
        self.test.wait(lambda: self.answers(), "capd.service to answer")

    def stop(self):
        self.systemctl("stop")

    def property(self, name):
        return self.test.run("systemctl", "show", "--value", "-p", name, "capd.service", check=0).stdout.strip()

    def active(self):
        return self.property("ActiveState")

    def pid(self):
        """Of the engine; 0 when there is none."""
        return int(self.property("MainPID"))

    def journal(self):
        """What capd.service has put into the journal since the test began, as dictionaries of its fields."""
        # What was sent a moment ago may still wait in the journal's socket.
        self.test.run("journalctl", "--sync", check=0)
        done = self.test.run("journalctl", "-q", "-u", "capd.service", "-o", "json",
                             *([f"--after-cursor={self.cursor}"] if self.cursor else []))
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def log(self):
        return "\n".join(str(entry.get("MESSAGE", "")) for entry in self.journal())


class Unit:
    """A transient service or scope. .pid is its main process, .cgroup where it is."""

    def __init__(self, test, name, user=None):
        self.test = test
        self.name = name
        self.manager = ["--user", "-M", f"{user}@.host"] if user else []

    def show(self, name):
        return self.test.run("systemctl", *self.manager, "show", "--value", "-p", name, self.name, check=0).stdout.strip()

    @property
    def pid(self):
        return int(self.show("MainPID"))

    @property
    def cgroup(self):
        return self.show("ControlGroup")

    def pids(self):
        return cgroup_pids(self.cgroup, below=True)

    def stop(self):
        self.test.run("systemctl", *self.manager, "stop", self.name)
        self.test.run("systemctl", *self.manager, "reset-failed", self.name)


class Test(harness.Test):
    def __init__(self, name):
        super().__init__(name)
        self.capd = Service(self)
        self.units = 0
        self.config_before = read(CONFIG, "")
        cursor = subprocess.run(["journalctl", "-q", "-n", "1", "-o", "json"], stdout=subprocess.PIPE, check=False).stdout
        if cursor.strip():
            self.capd.cursor = json.loads(cursor.splitlines()[-1])["__CURSOR"]
        self.cleanup(self.capd_away)

    def capd_away(self):
        """Stops capd.service, which other things that are undone later may need to be away."""
        if self.capd.active() not in ("inactive", "failed"):
            self.capd.stop()
        if self.capd.active() == "failed":
            self.run("systemctl", "reset-failed", "capd.service")
        self.capd.configure(self.config_before)

    # -- capd --

    def service(self, text):
        """Starts capd.service with a configuration. The same as self.capd."""
        self.need(self.run("systemctl", "cat", "capd.service").returncode == 0, "no capd.service is installed")
        self.capd.start(text)
        return self.capd

    # -- units and users --

    def _unit_name(self, name, kind):
        self.units += 1
        return f"{name or f'capd-test-{self.units}'}.{kind}"

    def unit(self, *argv, name=None, user=None, properties=(), **settings):
        """Starts a command as a transient service, of a user's own manager if there is a user, and does not wait for it."""
        unit = Unit(self, self._unit_name(name, "service"), user)
        self.cleanup(unit.stop)
        self.run("systemd-run", *unit.manager, "--quiet", "--collect", f"--unit={unit.name}",
                 *[f"--property={p}" for p in [*properties, *(f"{k}={v}" for k, v in settings.items())]], *map(str, argv), check=0)
        return unit

    def unit_workload(self, *arguments, name=None, user=None, scope=False, properties=(), comm=None, wait=True, **settings):
        """A workload in a transient service (or scope): (Process, Unit). It talks as any workload does."""
        unit = Unit(self, self._unit_name(name, "scope" if scope else "service"), user)
        self.cleanup(unit.stop)
        argv = ["systemd-run", *unit.manager, "--quiet", "--collect", f"--unit={unit.name}",
                *(["--scope"] if scope else ["--pipe", "--wait"]),
                *[f"--property={p}" for p in [*properties, *(f"{k}={v}" for k, v in settings.items())]],
                harness.WORKLOAD, *(["--comm", comm] if comm else []), *map(str, arguments)]
        process = harness.Process(self, argv)
        if wait:
            process.ready()
        return process, unit

    def user_manager(self, user):
        """Starts user@UID.service, as a first login does; then unit(user=…) works."""
        self.run("loginctl", "enable-linger", user, check=0)
        self.cleanup(self._user_away, user)
        uid = self.uid(user)
        self.wait(lambda: self.run("systemctl", "is-active", f"user@{uid}.service").stdout.strip() == "active",
                  f"the manager of {user}")
        self.wait(lambda: os.path.exists(f"/run/user/{uid}/bus"), f"the bus of {user}")

    def _user_away(self, user):
        self.run("loginctl", "disable-linger", user)
        self.run("loginctl", "terminate-user", user)
        uid = self.uid(user)
        self.wait(lambda: self.run("systemctl", "is-active", f"user@{uid}.service").stdout.strip() in ("inactive", "failed"),
                  f"the manager of {user} to end")
        self.run("systemctl", "reset-failed", f"user@{uid}.service")

    @staticmethod
    def uid(user):
        return int(re.search(rf"^{user}:[^:]*:(\d+):", read("/etc/passwd"), re.M)[1])

    def session_workload(self, user, *arguments, comm=None, wait=True):
        """A workload in a login session of a user (through PAM, so logind makes a session-N.scope for it)."""
        self.cleanup(self._user_away, user)
        path = self.executable_copy(f"workload-{user}")
        words = [path, *(["--comm", comm] if comm else []), *map(str, arguments)]
        process = harness.Process(self, ["su", "-l", user, "-c", "exec " + " ".join(words)])
        if wait:
            process.ready()
        return process

    # -- looked at by the runner --

    def evidence(self):
        return super().evidence() + ["journal of capd.service:", *self.capd.log().splitlines()[-25:],
                                     "kernel:", *self.run("dmesg", "--level=emerg,alert,crit,err,warn").stdout.splitlines()[-5:]]

    def leftovers(self, before):
        found = super().leftovers(before)
        if self.capd.active() not in ("inactive", ""):
            found.append(f"capd.service is {self.capd.active()}")
        found += [f"{RUNTIME}/{name}" for name in (os.listdir(RUNTIME) if os.path.isdir(RUNTIME) else [])]
        found += [f"swap {s}" for s in harness.swaps()]
        for folder, _, _ in os.walk(CGROUPS):
            if re.search(r"/capd(?!-tests)[^/]*$", folder):
                found.append(f"cgroup {folder[len(CGROUPS):]}")
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if state(pid) in ("T", "t"):
                found.append(f"stopped process {pid} ({read(f'/proc/{pid}/comm', '?').strip()})")
        if read(DAMON, "0").strip() != "0":
            found.append("DAMON in use")
        failed = self.run("systemctl", "--failed", "--plain", "--no-legend").stdout.split("\n")
        for line in filter(None, failed):
            found.append(f"failed unit {line.split()[0]}")
            self.run("systemctl", "reset-failed", line.split()[0])
        return found
