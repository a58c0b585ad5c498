# SPDX-License-Identifier: MIT
"""The system bus: a dbus-daemon of the test's own with capd's policy. What needs polkit is in tests/vm/guest/test_bus.py."""
import json
import os
import signal
import socket
import struct

import busman
import harness
from busman import MANAGER, Bus
from harness import MIB, read

NOBODY = 65534
CONFIG = "[Daemon]\nSampleInterval=1s\n[Group web]\nComm=busmember\nCap=2G\nAction=observe\n"
MORE = "[Group postgres]\nComm=nosuchprogram\nCap=8G\nAction=observe\n"


def started(t, config=CONFIG + MORE, **options):
    bus = Bus(t)
    t.workload("member", 8, comm="busmember", executable=t.executable_copy())
    d = t.daemon(config, env={"DBUS_SYSTEM_BUS_ADDRESS": bus.address}, **options)
    d.wait_group("web", lambda g: g["processes"] == 1 and g["quality"] == "exact", "the group to be counted")
    t.wait(bus.named, "the name on the bus")
    return bus, d


def signals(heard, member, group=None):
    return [m for m in heard() if m.get("type") == "signal" and m.get("member") == member and
            (group is None or m.get("path", "").endswith(f"/group/{group}"))]


def test_objects_and_manual(t):
    """What the bus shows is what org.capd1(5) says, and what capctl shows."""
    bus, d = started(t)
    text = busman.page()
    t.need(text, "no org.capd1(5) here")
    manager = bus.busctl("introspect", "--xml-interface", "org.capd1", "/org/capd1", check=0).stdout
    group = bus.busctl("introspect", "--xml-interface", "org.capd1", "/org/capd1/group/web", check=0).stdout
    t.equal(busman.differences(text, manager, group), [], "differences")
    # a comparison that cannot fail compares nothing
    t.check(busman.differences(text, manager.replace('"Tick"', '"Tack"')), "a changed introspection is seen")
    t.equal(bus.get("/org/capd1/group/web", "org.capd1.Group", "Cap"), d.group("web")["cap"], "cap by capctl")


def test_same_objects_on_the_private_socket(t):
    bus, d = started(t)
    for path in ("/org/capd1", "/org/capd1/group/web"):
        one = bus.busctl("introspect", "--xml-interface", "org.capd1", path, check=0).stdout
        other = t.run("busctl", f"--address=unix:path={d.runtime}/control", "introspect", "--xml-interface", "org.capd1", path,
                      check=0).stdout
        t.equal(busman.introspected(other), busman.introspected(one), f"{path} on the private socket")
        t.check(busman.introspected(one)[0], "there is something to compare")


def test_signals(t):
    """Changes of state and of figures, and groups that come and go; figures once a tick at most."""
    bus, d = started(t)
    heard = bus.listen()
    before = bus.get("/org/capd1", "org.capd1.Manager", "Tick")
    bus.call("Pause", "s", "web", check=0)
    bus.call("SetCap", "stt", "web", str(1 << 30), "0", check=0)
    t.wait(lambda: any("Cap" in m["payload"]["data"][1] for m in signals(heard, "PropertiesChanged", "web")), "the cap to be announced")
    changed = t.wait(lambda: signals(heard, "StateChanged"), "the change of state to be announced")
    t.equal([m["payload"]["data"][:3] for m in changed], [["web", "ok", "paused"]], "StateChanged")
    announced = signals(heard, "PropertiesChanged", "web")
    by_name = {}
    for m in announced:
        by_name.update(m["payload"]["data"][1])
    t.equal((by_name["Cap"]["data"], by_name["State"]["data"], by_name["Paused"]["data"]), (1 << 30, "paused", True), "figures")
    quiet = [n for n in by_name if busman.moves_by_itself(n)]
    t.equal(quiet, [], "announced, though they move by themselves")
    t.equal([n for n in by_name if n == "ConfiguredCap"], [], "announced, though nothing has changed it")
    # ten times more often than the ticks
    for i in range(10):
        bus.call("SetCap", "stt", "web", str((1 << 30) + i * 4096), "0", check=0)
    last = (1 << 30) + 9 * 4096
    t.wait(lambda: any(m["payload"]["data"][1].get("Cap", {}).get("data") == last for m in signals(heard, "PropertiesChanged", "web")),
           "the last cap to be announced")
    # in this order: more ticks may come while it is looked at
    n = len(signals(heard, "PropertiesChanged", "web"))
    ticks = bus.get("/org/capd1", "org.capd1.Manager", "Tick") - before
    t.note(f"{n} announcements of the group in {ticks} ticks")
    t.check(n <= ticks + 1, f"{n} announcements in {ticks} ticks")
    d.write_config(CONFIG + "[Group new]\nComm=nosuch\nCap=1G\nAction=observe\n")
    bus.call("Reload", check=0)
    t.wait(lambda: signals(heard, "InterfacesAdded") and signals(heard, "InterfacesRemoved"), "groups that come and go")
    added, removed = signals(heard, "InterfacesAdded"), signals(heard, "InterfacesRemoved")
    t.equal([m["payload"]["data"][0] for m in added], ["/org/capd1/group/new"], "InterfacesAdded")
    t.equal(added[0]["payload"]["data"][1]["org.capd1.Group"]["Cap"]["data"], 1 << 30, "its cap")
    t.equal([m["payload"]["data"] for m in removed], [["/org/capd1/group/postgres", ["org.capd1.Group"]]], "InterfacesRemoved")


def test_who_may_do_what(t):
    """Without polkit: root changes, others look, and are told why."""
    bus, d = started(t)
    other = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    for method, arguments in (("Pause", ["web"]), ("Resume", ["web"]), ("Enforce", ["web"]), ("Reload", []), ("GetConfig", [])):
        error = bus.error_of(method, *arguments, **other)
        t.check(error and error[0] == "org.freedesktop.DBus.Error.AccessDenied" and "polkit" in error[1], f"{method}: {error}")
    t.equal(d.group("web")["state"], "ok", "state after all that")
    done = bus.busctl("--json=short", "call", *MANAGER, "Measure", "s", "web", check=0, **other)
    figures = json.loads(done.stdout)["data"][0]
    t.check(figures["Resident"]["data"] >= 8 * MIB and figures["Private"]["data"] < 1 << 60, f"Measure() for nobody: {figures}")
    t.equal(bus.error_of("Measure", "nosuch", **other)[0], "org.capd1.Error.NoSuchGroup", "Measure() of no group")
    t.equal(bus.error_of("Pause", "nosuch")[0], "org.capd1.Error.NoSuchGroup", "Pause() of no group")
    t.equal(bus.error_of("Enforce", "web")[0], "org.freedesktop.DBus.Error.InvalidArgs", "Enforce() of an observed group")
    t.equal(bus.call("Pause", "s", "web", check=0).stdout, 's "web is paused"\n', "Pause() by root")
    t.equal(d.group("web")["state"], "paused", "state")
    t.check("polkit cannot be asked" in d.log(), "the log says so")


def test_bus_comes_and_goes(t):
    """capctl works all the while, by the same front."""
    bus, d = started(t)
    fronts = d.fronts()
    for _ in range(2):
        bus.stop()
        t.wait(lambda: "The system bus cannot be used: it has gone" in d.log(), "the log to say that the bus has gone")
        t.check(d.group("web"), "capctl without a bus")
        bus.start()
        t.wait(bus.named, "the name on the new bus")
        t.equal(bus.get("/org/capd1/group/web", "org.capd1.Group", "Processes"), 1, "processes on the new bus")
    t.equal(d.fronts(), fronts, "fronts")
    t.equal(d.stop(), 0, "exit status")


def test_name_is_taken(t):
    """Another capd stands in line and takes over when the first one ends."""
    bus, d = started(t)
    second = t.daemon(CONFIG, name="second", env={"DBUS_SYSTEM_BUS_ADDRESS": bus.address})
    t.wait(lambda: "Somebody else has the name org.capd1" in second.log(), "the log to say so")
    t.check(second.group("web"), "capctl of the second")
    bus.call("Pause", "s", "web", check=0)
    t.equal((d.group("web")["state"], second.group("web")["state"]), ("paused", "ok"), "who heard it")
    t.equal(d.stop(), 0, "exit status")
    t.wait(lambda: "Serving org.capd1 on the system bus" in second.log(), "the second to have the name")
    bus.call("Pause", "s", "web", check=0)
    t.equal(second.group("web")["state"], "paused", "who heard it")


def message(serial, destination, path, interface, member):
    """A method call without arguments."""
    def field(code, kind, text):
        data = text.encode()
        one = struct.pack("<BBcxI", code, 1, kind, len(data)) + data + b"\0"
        return one + b"\0" * (-len(one) % 8)
    fields = b"".join((field(1, b"o", path), field(2, b"s", interface), field(3, b"s", member), field(6, b"s", destination)))
    used = len(fields.rstrip(b"\0")) + 1 # what pads the last one does not count
    head = struct.pack("<cBBBIII", b"l", 1, 0, 1, 0, serial, used) + fields[:used]
    return head + b"\0" * (-len(head) % 8)


def test_flood(t):
    """Clients that ask for everything and read nothing: capctl does not notice, and the front does not grow."""
    bus, d = started(t)
    flooders = []
    t.cleanup(lambda: [s.close() for s in flooders])
    for _ in range(8):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(harness.GUARD * harness.SLOW)
        s.connect(f"{bus.directory}/socket")
        s.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        t.check(s.recv(100).startswith(b"OK"), "the bus to let the flooder in")
        s.sendall(b"BEGIN\r\n" + message(1, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello"))
        s.setblocking(False)
        flooders.append(s)
    sent = 0
    # What the bus has taken from them is worked through even when they have gone, by the share of clients of the bus.
    for serial in range(2, 2 + max(5, int(38 / harness.SLOW))):
        piece = b"".join(message(serial * 100 + i, "org.capd1", "/org/capd1", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
                         for i in range(100))
        for s in flooders:
            try:
                sent += s.send(piece)
            except OSError:
                pass
        if serial % 5 == 0:
            t.check(d.try_status(), "capctl in the flood")
    t.note(f"{sent // 1024} KiB of requests")
    front = d.fronts()
    t.equal(len(front), 1, "fronts")
    t.check(harness.vm(front[0])["VmRSS"] < 96 * MIB * harness.SLOW, f"the front grew to {harness.vm(front[0])['VmRSS']}")
    t.check(d.try_status(), "capctl after the flood")
    for s in flooders:
        s.close()
    flooders.clear()
    t.wait(lambda: bus.call("Pause", "s", "web").returncode == 0, "the bus to be served again")
    t.equal(d.fronts(), front, "the same front")
    t.equal(d.stop(), 0, "exit status")


def test_front_killed(t):
    """The next front has the name."""
    bus, d = started(t)
    front = d.fronts()[0]
    os.kill(front, signal.SIGKILL)
    t.wait(lambda: front not in d.fronts() and d.try_status() is not None and bus.named(), "the next front on the bus")
    t.equal(bus.get("/org/capd1/group/web", "org.capd1.Group", "Name"), "web", "its objects")
