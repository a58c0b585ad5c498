# SPDX-License-Identifier: MIT
"""org.capd1(5) as data: what it promises, and the transcripts in it; to be compared with what a bus shows."""
import os
import re
import xml.etree.ElementTree

from harness import HERE

PAGE = "org.capd1.5"
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


def transcripts(text):
    """(prompt, command, lines) of every command in the page."""
    found = []
    for block in re.findall(r"^\.EX\n(.*?)^\.EE$", text, re.M | re.S):
        block = block.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")
        for prompt, command, lines in re.findall(r"^([#$]) (.*)\n((?:(?![#$] ).*\n)*)", block, re.M):
            found.append((prompt, command, lines.splitlines()))
    return found


def shape(line):
    """A line of busctl without what is of the moment, and without what releases draw differently."""
    line = re.sub(r"[└├─│ ]+", " ", line).strip()
    line = re.sub(r"^t \d+$", "t N", line)
    line = re.sub(r"\buser \d+", "user N", line)
    return line


def compare_output(command, shown, got):
    """What a transcript shows against the output of the command, as lines of what is wrong."""
    wrong = []
    if " introspect " in command:
        rows = [tuple(c.split()[i] for i in (0, 1, 2, -1)) for c in got if len(c.split()) >= 4]
        for line in shown:
            cells = line.split()
            if line.strip() != "..." and cells[0] != "NAME" and (cells[0], cells[1], cells[2], cells[-1]) not in rows:
                wrong.append(f"{command}: no row {line.strip()!r}")
        return wrong
    if " Measure " in command:
        want = r'a\{sv\} \d+ "Name" s "web" "Number" u \d+ "Description" s "" '
        return [] if len(got) == 1 and re.match(want, got[0]) else [f"{command}: {got[:1]!r:.200}"]
    if [shape(line) for line in shown] != [shape(line) for line in got]:
        wrong.append(f"{command}: {got!r}, in the page {shown!r}")
    return wrong
