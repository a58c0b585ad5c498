# SPDX-License-Identifier: MIT
"""The transcripts of the documentation: their scenes, and what they show against what the documented commands print there.

A transcript is a block of README.md or a manual with a mark and a name (tests/blocks.py): commands behind a prompt, "# " for root
and "$ " for the user alice, each with what it prints, in which no line may begin so. A test sets up the scene and lets a Session
play the transcripts of it. Both texts must be the same word by word, but for what SCENES and MOMENT say. tests/transcripts puts
what was printed into the documentation.
"""
import os
import re
import subprocess
import sys

from harness import CAPCTL, HERE, MIB, Failure, read

# Of the source tree, or in a guest.
ROOT = next(d for d in (os.path.dirname(HERE), os.path.dirname(os.path.dirname(HERE))) if os.path.exists(f"{d}/README.md"))
sys.path.append(os.path.dirname(HERE))
from blocks import shown, written  # noqa: E402

# A transcript, where it is shown, the test that plays its scene and whose print is shown, and by what part sizes may differ.
SCENES = {
    "status-enforcing": ("README.md", "documents.quickstart", 0.03),
    "status-ok": ("README.md", "documents.quickstart", 0.03),
    "explain": ("README.md", "vm.transcripts.postgresql", 0.25),
    "status-unenforceable": ("README.md", "vm.transcripts.postgresql", 0.25),
    "status-json": ("man/capctl.1", "documents.bus", 0.02),
    "busctl-tree": ("man/org.capd1.5", "documents.bus", 0),
    "busctl-introspect": ("man/org.capd1.5", "documents.bus", 0),
    "busctl-get-property": ("man/org.capd1.5", "documents.bus", 0.02),
    "busctl-call": ("man/org.capd1.5", "documents.bus", 0),
    "busctl-monitor": ("man/org.capd1.5", "documents.bus", 0),
    "busctl-polkit": ("man/org.capd1.5", "vm.transcripts.bus", 0),
}
# Less than this two sizes may always differ by, if neither is 0.
FLOOR = MIB // 4

# What is of the moment, or of the host rather than of the group: times, numbers of clients, and whom else the kernel charges. The last
# two are settings, and no sizes that may differ.
MOMENT = [(re.compile(pattern, re.M), to) for pattern, to in (
    (r"(?<=counted )\d+(us|ms|s|min|h)(?= ago$)", "TIME"),
    (r"^(state +\w+ for )\d+(us|ms|s|min|h):", r"\1TIME:"),
    (r"\bCookie=\d+  Timestamp=\"[^\"]*\"", "Cookie=N  Timestamp=\"TIME\""),
    (r":\d+\.\d+(?=\s)", ":N"),
    (r"^(\.Tick +property +t +)\d+", r"\1N"),
    (r"\buser \d+(?= must)", "user N"),
    # releases of busctl draw branches with and without a blank
    (r"─ /", "─/"),
    (r"(^ \+ +\S+ +\d+  (/\S*|no cgroup|\d+ more cgroups?)\n)+", " + others\n"),
    (r"^ [+-] +\S+ +\d+  (mapped, but not by the group|the rest: .*)$", r" SIZE  \1"),
    (r"(?<=touched it first)(;|,\n +most of it to /.*;)", "; CGROUP"),
    (r"^(cap +)(\S+,.* stops at )(\S+)$", r"\1cap:\2cap:\3"),
    (r"(?<=\"cap\": )(?=\d)", "cap:"),
)]
# Lines that are there if there is enough of it on the host, or if the kernel's counters are not exact.
OPTIONAL = [re.compile(pattern, re.M) for pattern in (
    r"^ [+-] .*  changed while counting, or the kernel's error\n",
    r"^ +\S+ is charged there and mapped by processes outside of the group alone;\n",
    r"^ +\S+ of what the group maps is charged to (others, which touched it first; CGROUP|no cgroup;)\n",
)]
SCALE = {unit: 1 << 10 * i for i, unit in enumerate("BKMGT")}
# A word with a number that may differ: what is before it, the number, its unit, what is behind it.
NUMBER = re.compile(r"([<>~]?)(\d+(?:\.\d+)?)([BKMGT%]?)([,.;]?)$")
# A line of explain with a figure: its sign, the figure in two ways, what it is.
FIGURE = re.compile(r"^ *([-+=]?) +([\d.]+[BKMGT]) +(\d+)  (.*)$")


def documented():
    """{name: (document, block)} of all transcripts."""
    found = {}
    for path in sorted({path for path, _, _ in SCENES.values()}):
        for block in shown(path, read(f"{ROOT}/{path}")):
            if block.name:
                found[block.name] = (path, block)
    return found


def commands(text):
    """(prompt, command, lines) of a transcript."""
    found = []
    for line in text.splitlines():
        if line.startswith(("# ", "$ ")):
            found.append((line[0], line[2:], []))
        elif found:
            found[-1][2].append(line)
    return found


def cut(shown_lines, printed):
    """What was printed, without what the documentation leaves out: "..." for lines, " ..." for the rest of a line."""
    left, done = list(printed), []
    for number, line in enumerate(shown_lines):
        if line == "...":
            goal = shown_lines[number + 1].split()[0] if number + 1 < len(shown_lines) else None
            while left and left[0].split()[:1] != [goal]:
                left.pop(0)
            done.append(line)
        elif left and line.endswith(" ..."):
            done.append(" ".join(left.pop(0).split(" ")[:len(line.split(" ")) - 1]) + " ...")
        elif left:
            done.append(left.pop(0))
    return closed_up(done + left) if "..." in done else done + left


def closed_up(lines):
    """Columns that were as wide as what is left out."""
    rows = [line for line in lines if line != "..."]
    blank = [all(row[at:at + 2] in ("", " ", "  ") for row in rows) for at in range(max(map(len, rows)))]
    return ["".join(c for at, c in enumerate(line) if line == "..." or not blank[at]) for line in lines]


# -- comparing --

def rows_of(lines):
    """Tables in it, each as a list of lines: a heading in capitals and what follows it with as many words."""
    tables = []
    for i, line in enumerate(lines):
        if re.fullmatch(r"[A-Z%/ -]+", line) and line.count(" ") > 3:
            rows = [line]
            for other in lines[i + 1:]:
                if len(other.split()) == len(line.split()):
                    rows.append(other)
                elif not other.startswith("."):
                    break
            tables.append(rows)
    return tables


def normal(text):
    """A transcript without what is of the moment."""
    lines = text.splitlines()
    for rows in rows_of(lines):
        titles = rows[0].split()
        for row in rows[1:]:
            cells = dict(zip(titles, row.split()))
            if re.fullmatch(r"\d+(us|ms|s|min|h)", cells.get("AGE", "")):
                cells["AGE"] = "TIME"
            if cells.get("USE%", "").isdigit():
                cells["USE%"] += "%"
            if "CAP" in cells:
                cells["CAP"] = f"cap:{cells['CAP']}"
            rate = re.fullmatch(r"-?(\d+(?:\.\d+)?)([BKMGT])/s", cells.get("TREND", ""))
            if rate and float(rate[1]) * SCALE[rate[2]] < FLOOR:
                cells["TREND"] = "0"
            lines[lines.index(row)] = " ".join(cells.values())
    text = "\n".join(lines) + "\n"
    for pattern, to in MOMENT:
        text = pattern.sub(to, text)
    return text


def kind(number):
    if number[3]:
        return "percent" if number[3] == "%" else "size"
    return "ratio" if "." in number[2] else "bytes" if len(number[2]) >= 5 else "exact"


def close(one, other, tolerance):
    """Two words that are equal, or numbers of a kind within the tolerance. What is 0 is 0, and small numbers count something."""
    a, b = NUMBER.match(one), NUMBER.match(other)
    if one == other or not (a and b) or (kind(a), a[1], a[4]) != (kind(b), b[1], b[4]) or kind(a) == "exact":
        return one == other
    x, y = (float(m[2]) * SCALE.get(m[3], 1) for m in (a, b))
    floor = {"percent": 2, "ratio": 0}.get(kind(a), FLOOR)
    return x != 0 and y != 0 and abs(x - y) <= max(floor, tolerance * max(x, y))


def differences(shown_text, printed_text, tolerance):
    """What the documentation shows and a run has not printed, as lines for people; nothing if there is no difference."""
    said, got = normal(shown_text), normal(printed_text)
    for optional in OPTIONAL:
        if not (optional.search(said) and optional.search(got)):
            said, got = optional.sub("", said), optional.sub("", got)
    said, got = said.splitlines(), got.splitlines()
    wrong = [] if len(said) == len(got) else [f"{len(said)} lines, and {len(got)} are printed"]
    for one, other in zip(said, got):
        words, printed = one.split(), other.split()
        same = len(words) == len(printed) and all(close(a, b, tolerance) for a, b in zip(words, printed))
        # Columns move with the figures in them; a line that begins with a word begins where it does.
        if not same or words and not NUMBER.match(words[0]) and indent(one) != indent(other):
            wrong.append(f"{one!r}, and {other!r} is printed")
    return wrong + crooked(shown_text)


def indent(line):
    return len(line) - len(line.lstrip())


def crooked(text):
    """Columns of a transcript that are not in line, to the left or to the right."""
    lines = text.splitlines()
    figures = [(m.end(2), m.end(3)) for m in map(FIGURE.match, lines) if m]
    wrong = [f"figures end in different columns: {sorted(set(figures))}"] if len(set(figures)) > 1 else []
    for rows in rows_of(lines):
        spans = [[m.span() for m in re.finditer(r"\S+", row)] for row in rows]
        for column in zip(*spans):
            if len({start for start, _ in column}) > 1 and len({end for _, end in column}) > 1:
                wrong.append(f"{rows[0][slice(*column[0])]} is not in line")
    return wrong


# -- playing --

class Session:
    """The transcripts of one scene, played one after the other."""

    def __init__(self, t, capd, env=None):
        self.t = t
        self.documented = documented()
        self.wrong = []
        self.played = []
        # The documentation speaks of the one capd of a host.
        programs = os.path.join(t.tmp, "bin")
        os.makedirs(programs, exist_ok=True)
        with open(f"{programs}/capctl", "w", encoding="utf-8") as f:
            f.write(f'#!/bin/sh\nexec "{CAPCTL}" --runtime-directory "{capd.runtime}" "$@"\n')
        os.chmod(f"{programs}/capctl", 0o755)
        self.env = {**os.environ, **(env or {}), "PATH": f"{programs}:{os.environ['PATH']}"}

    def play(self, name, until=None, meanwhile=None):
        """Runs the commands of a transcript.

        They are run again until what they print is as until(text) says. With `meanwhile`, which is then called, the command is one
        that does not end by itself, but when until(text) holds.
        """
        self.t.check(name in self.documented, f"no transcript {name} in the documentation")
        _, block = self.documented[name]
        last = [""]

        def once():
            text = ""
            for prompt, command, lines in commands(block.text):
                printed = self._watch(command, meanwhile, until) if meanwhile else self._output(prompt, command)
                text += "\n".join([f"{prompt} {command}", *cut(lines, printed.splitlines())]) + "\n"
            last[0] = text
            return text if meanwhile or not until or until(text) else None
        try:
            text = self.t.wait(once, f"what {name} shows", 60, step=0.01)
        except Failure as e:
            raise Failure(f"{e}; at last\n{last[0]}") from None
        self.t.keep(f"transcript-{name}", text)
        self.played.append(name)
        self.wrong += [f"{name}: {w}" for w in differences(block.text, text, SCENES[name][2])]

    def _output(self, prompt, command):
        shell = ["su", "alice", "-s", "/bin/sh"] if prompt == "$" else ["sh"]
        return self.t.run(*shell, "-c", f"exec 2>&1; {command}", env=self.env).stdout

    def _watch(self, command, meanwhile, until):
        path = os.path.join(self.t.tmp, "watched")
        with open(path, "wb") as f:
            child = subprocess.Popen(["sh", "-c", f"exec {command}"], env=self.env, stdin=subprocess.DEVNULL, stdout=f, stderr=f)
        try:
            self.t.wait(lambda: read(path), f"{command} to begin", 60)
            meanwhile()
            self.t.wait(lambda: until(read(path)), f"{command} to show it", 60)
        finally:
            child.kill()
            child.wait()
        return read(path).rstrip("\n")

    def end(self):
        """Judges."""
        left = [n for n, (_, scene, _) in SCENES.items() if scene == self.t.name and n not in self.played]
        self.t.equal(left, [], "transcripts of this scene that were not played")
        if self.wrong:
            raise Failure("the documentation shows something else than is printed (tests/transcripts writes it anew):\n" +
                          "\n".join(self.wrong))


# -- scenes that are played on several hosts --

BUS_CONFIG = "[Daemon]\nSampleInterval=1s\n[Group postgres]\nComm=nosuchprogram\nCap=8G\nAction=observe\n" \
             "[Group web]\nComm=webserver\nCap=2G\nAction=observe\n"


def bus(session, capd):
    """On a system bus, with BUS_CONFIG and a process webserver of 20 MiB."""
    capd.wait_group("web", lambda g: g["processes"] == 1 and g["quality"] == "exact", "the group to be counted")
    session.play("status-json")
    session.play("busctl-tree")
    session.play("busctl-introspect")
    session.play("busctl-get-property")
    session.play("busctl-monitor", until=lambda text: "};\n" in text,
                 meanwhile=lambda: capd.ctl("pause", "web"))
    capd.ctl("resume", "web")
    session.play("busctl-call")


def rewritten(directory):
    """Puts what sessions kept in a directory into the documentation: {document: its new text}, and names of what was not kept."""
    new, missing = {}, []
    for name, (path, scene, _) in SCENES.items():
        kept = os.path.join(directory, f"{scene}-transcript-{name}")
        if not os.path.exists(kept):
            missing.append(name)
            continue
        content = new.get(path, read(f"{ROOT}/{path}"))
        block = next(b for b in shown(path, content) if b.name == name)
        new[path] = written(path, content, block, read(kept))
    return new, missing
