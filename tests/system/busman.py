# SPDX-License-Identifier: MIT
"""org.capd1(5) as data: what it promises, to be compared with what a bus shows; and a bus of a test's own."""
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree

from harness import HERE, read

PAGE = "org.capd1.5"
MANAGER = ("org.capd1", "/org/capd1", "org.capd1.Manager")
POLICY = ("/etc/dbus-1/system.d", "/usr/local/share/dbus-1/system.d", "/usr/share/dbus-1/system.d")
INTERFACES = ("org.capd1.Manager", "org.capd1.Group")


def page():
    """The page's source: of the tree, or as installed. None if it is neither."""
    for path in (os.path.join(HERE, "../../man", PAGE), f"/usr/local/share/man/man5/{PAGE}", f"/usr/share/man/man5/{PAGE}"):
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                return f.read()
    return None


def types(arguments):
    """The signature of a list of arguments as the page writes it: "s group, t bytes" is "st"."""
    return "".join(a.split()[0] for a in arguments.split(",") if a.strip())


def promised(text):
    """{interface: {name: what}}: a property as its type, a method as (in, out), a signal as (in, None)."""
    found = {}
    for interface in INTERFACES:
        part = re.split(rf"^\.SH {interface.upper()}$", text, flags=re.M)[1]
        part = re.split(r"^\.SH ", part, flags=re.M)[0]
        members = dict(re.findall(r'^\.BR (\w+) " \(" (\w+) \)$', part, re.M))
        for name, arguments, _, result in re.findall(r'^\.BR (\w+) "\(([^)]*)\)( → (.*))?"$', part, re.M):
            members[name] = (types(arguments), types(result) if result else None)
        found[interface] = members
    return found


def moves_by_itself(name):
    """What the page says is not announced."""
    return name.endswith(("TimestampMonotonic", "USec")) or name in ("EngineResponding", "Tick")


def introspected(text):
    """The same of an introspection, and the names of the properties that are announced."""
    found, announced = {}, {}
    for interface in xml.etree.ElementTree.fromstring(text).iter("interface"):
        if interface.get("name") not in INTERFACES:
            continue
        members, loud = {}, set()
        for p in interface.iter("property"):
            members[p.get("name")] = p.get("type")
            notes = {a.get("name"): a.get("value") for a in p.iter("annotation")}
            if notes.get("org.freedesktop.DBus.Property.EmitsChangedSignal", "true") == "true":
                loud.add(p.get("name"))
        for kind in ("method", "signal"):
            for m in interface.iter(kind):
                given = "".join(a.get("type") for a in m.iter("arg") if a.get("direction", "in") == "in" or kind == "signal")
                result = "".join(a.get("type") for a in m.iter("arg") if a.get("direction") == "out")
                members[m.get("name")] = (given, None if kind == "signal" else result)
        found[interface.get("name")], announced[interface.get("name")] = members, loud
    return found, announced


def differences(text, *introspections):
    """What page and introspection say differently, a line each."""
    wrong, said = [], promised(text)
    for one in introspections:
        found, announced = introspected(one)
        for interface, members in found.items():
            for name in sorted(set(members) | set(said[interface])):
                if members.get(name) != said[interface].get(name):
                    wrong.append(f"{interface}.{name}: {members.get(name)}, in the page {said[interface].get(name)}")
            for name in sorted(n for n, m in members.items() if isinstance(m, str)):
                if moves_by_itself(name) == (name in announced[interface]):
                    wrong.append(f"{interface}.{name}: {'announced' if name in announced[interface] else 'not announced'}")
    return wrong


class Bus:
    """A system bus as a distribution sets one up, without its services."""

    def __init__(self, t):
        self.t = t
        for tool in ("dbus-daemon", "busctl", "dbus-send"):
            t.need(shutil.which(tool), f"no {tool} is installed")
        policy = next((p for p in (os.path.join(HERE, "../../etc/org.capd1.conf"), *(f"{d}/org.capd1.conf" for d in POLICY))
                       if os.path.exists(p)), None)
        t.need(policy, "no policy of org.capd1 for the bus")
        self.directory = os.path.join(t.tmp, "bus")
        os.mkdir(self.directory)
        shutil.copy(policy, self.directory)
        os.chmod(f"{self.directory}/org.capd1.conf", 0o644)
        self.address = f"unix:path={self.directory}/socket"
        with open(f"{self.directory}/conf", "w", encoding="ascii") as f:
            # The rules that every system bus has; and without a user capd the front is nobody.
            f.write(f"""<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>{self.address}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <include>org.capd1.conf</include>
  <policy user="nobody"><allow own="org.capd1"/></policy>
</busconfig>
""")
        self.child = None
        t.cleanup(self.stop)
        self.start()

    def start(self):
        self.child = subprocess.Popen(["dbus-daemon", f"--config-file={self.directory}/conf", "--nofork", "--nopidfile",
                                       "--nosyslog"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.t.wait(lambda: os.path.exists(f"{self.directory}/socket"), "the bus to listen", step=0.02)

    def stop(self):
        if self.child and self.child.poll() is None:
            self.child.terminate()
            self.child.wait()
        if os.path.exists(f"{self.directory}/socket"):
            os.unlink(f"{self.directory}/socket")

    @property
    def env(self):
        return {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address}

    def busctl(self, *arguments, **options):
        return self.t.run("busctl", *arguments, env=self.env, **options)

    def call(self, method, *arguments, **options):
        return self.busctl("call", *MANAGER, method, *arguments, **options)

    def get(self, path, interface, name):
        done = self.busctl("--json=short", "get-property", "org.capd1", path, interface, name, check=0)
        return json.loads(done.stdout)["data"]

    def error_of(self, method, *arguments, **options):
        """The name of the error that a call is answered with."""
        done = self.t.run("dbus-send", f"--bus={self.address}", "--print-reply", f"--dest={MANAGER[0]}", MANAGER[1],
                          f"{MANAGER[2]}.{method}", *(f"string:{a}" for a in arguments), env=self.env, **options)
        found = re.match(r"Error ([\w.]+): ?(.*)", done.stderr)
        return (found[1], found[2]) if found else None

    def named(self):
        return self.t.run("busctl", "status", "org.capd1", env=self.env).returncode == 0

    def listen(self):
        """Everything that capd says on the bus from now on: a function that gives it as a list of messages."""
        path = f"{self.directory}/heard"
        with open(path, "wb") as f, open(f"{self.directory}/said", "wb") as said:
            child = subprocess.Popen(["busctl", "--json=short", "monitor", "--match", "sender=org.capd1"], env=self.env,
                                     stdin=subprocess.DEVNULL, stdout=f, stderr=said)

        def end():
            child.kill()
            child.wait()
        self.t.cleanup(end)
        self.t.wait(lambda: "Monitoring" in read(f"{self.directory}/said", "") + read(path, "") or os.path.getsize(path), "busctl monitor")

        def heard():
            return [json.loads(line) for line in read(path).splitlines() if line.startswith("{") and line.endswith("}")]
        return heard
