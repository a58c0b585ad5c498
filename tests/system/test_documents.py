# SPDX-License-Identifier: MIT
"""The transcripts in README.md and the manuals, against what the documented commands print in scenes that are set up for them."""
import os
import re
import sys

import transcripts
from busman import Bus
from transcripts import FIGURE, SCENES, Session

# Blocks that are neither configurations nor transcripts, by how they begin.
OTHERS = {
    "README.md": ("sudo etc/quickstart", "sudo tests/run", "meson setup build", "sudo systemd-sysusers", "cp -a etc/debian debian",
                  "capctl suggest", "busctl tree org.capd1\n", "journalctl -u capd -x", "capd_group_resident_bytes / "),
    "CONTRIBUTING.md": ("sudo tests/run", "sudo tests/vm/run", "sudo tests/transcripts"),
    "man/capd.8": ("journalctl -u capd", "[Service]\nReadWritePaths"),
    "man/capd.conf.5": (".I /etc/capd.conf\n", "# a comment\n", "files  "),
    "man/org.capd1.5": ("busctl introspect", "polkit.addRule"),
}


def source_tree(t):
    t.need(os.path.exists(f"{transcripts.ROOT}/tests/source.py"), "the source tree is not here")
    sys.path[:0] = [f"{transcripts.ROOT}/tests"]
    import blocks
    import source
    return blocks, source


def test_every_block_has_a_scene(t):
    """What the documentation shows is a configuration, which tests/lint checks, or a transcript with a scene, or known as neither."""
    blocks, source = source_tree(t)
    wrong, names = [], []
    for path in source.files(".md", *(f".{n}" for n in range(1, 9))):
        content = source.text(path)
        wrong += [f"{path}: {line!r}: a transcript would not be found in it" for line in content.splitlines() if line.startswith("```")]
        for block in blocks.shown(path, content):
            where = f"{path}:{block.first + 1}: {block.text.splitlines()[0]!r}"
            if block.name:
                names.append(block.name)
                if block.name not in SCENES or SCENES[block.name][0] != path:
                    wrong.append(f"{where}: {block.name} has no scene (tests/system/transcripts.py)")
                elif not transcripts.commands(block.text):
                    wrong.append(f"{where}: no command behind a prompt")
            elif not blocks.is_configuration(block.text) and not block.text.startswith(OTHERS.get(path, ())):
                wrong.append(f"{where}: neither a configuration nor a transcript by name")
    t.equal(wrong, [], "blocks")
    t.equal(sorted(names), sorted(SCENES), "transcripts, and those that have a scene")


def test_comparison_can_fail(t):
    """Each transcript is like itself, and not like one in which a word, a figure or a line is another one."""
    source_tree(t)
    for name, (path, block) in transcripts.documented().items():
        tolerance = SCENES[name][2]
        t.equal(transcripts.differences(block.text, block.text, tolerance), [], f"{name} beside itself")
        lines = block.text.splitlines(keepends=True)
        for number, line in enumerate(lines):
            # of the host's own there may be more or less
            if not re.match(r" +\+ .*  (/|no cgroup|\d+ more)|.*(charged to others|charged to no|most of it to /|processes outside of)", line):
                less = "".join(lines[:number] + lines[number + 1:])
                t.check(transcripts.differences(block.text, less, tolerance), f"{name} without {line!r}")
    readme = transcripts.documented()["status-ok"][1].text
    for one, other in (("285M", "325M"), ("ok ", "on "), ("101", "102"), ("STATE", "State"), ("106M", "106G"), ("M 300M", "M  300M"),
                       ("0B ", "1M "), (" 300M", " 301M"), ("   0  2", "3M/s  2"), (" 95 ", " 75 "), ("sharing", " sharing"), ("106M", "<106M")):
        changed = readme.replace(one, other, 1)
        t.check(changed != readme, f"{one!r} is not shown")
        t.check(transcripts.differences(changed, readme, 0.03), f"{one!r} instead of {other!r} is not seen")
    t.equal(transcripts.differences(readme.replace("106M", "107M"), readme, 0.03), [], "a size within the tolerance")


def test_sums(t):
    """The arithmetic that README.md shows is right, to the byte."""
    source_tree(t)
    sums, total = 0, None
    for line in transcripts.documented()["explain"][1].text.splitlines():
        m = FIGURE.match(line)
        if not m:
            total = None
        elif m[1] == "=":
            t.equal(total, int(m[3]), f"sum before {line!r}")
            sums += 1
        elif m[1]:
            total += int(m[3]) * (-1 if m[1] == "-" else 1)
        else:
            total = int(m[3])
    t.check(sums >= 5, f"README.md shows {sums} sums")


class Missed(Exception):
    """What was to be seen is over."""


def cells(text, name):
    """State, RESIDENT, SWAP of a group in what capctl status has printed. One that is not counted page by page has a sign."""
    words = re.search(rf"^{name} .*$", text, re.M)[0].split()
    return words[1], words[2], words[-3]


def enforcing(text):
    """The act has begun, and nothing is paged out yet."""
    state, resident, swap = cells(text, "private")
    if swap not in ("0B", "-"):
        raise Missed()
    return state == "enforcing" and resident[0].isdigit() and cells(text, "sharing")[1][0].isdigit()


def enforced(text):
    return cells(text, "private")[0] == "ok" and all(cells(text, name)[1][0].isdigit() for name in ("private", "sharing"))


def test_quickstart(t):
    """The groups of etc/quickstart, with its configuration."""
    source_tree(t)
    quickstart = transcripts.read(f"{transcripts.ROOT}/etc/quickstart")
    config = re.search(r"<<END\n(.*?)^END$", quickstart, re.M | re.S)[1].replace("$work", t.tmp)
    t.check("Cap=300M" in config and "family 100 100" in quickstart and " writer 200 20 0" in quickstart, "etc/quickstart is another one")
    t.swapfile(768)
    t.workload("family", 100, 100, executable=t.executable_copy("sharing"))
    private = t.executable_copy("private")
    for attempt in range(1, 6):
        writers = [t.workload("--seed", i, "writer", 200, 20, 0, executable=private) for i in (1, 2, 3)]
        capd = t.daemon(config.replace("300M", "1G"), name=f"capd-{attempt}")
        for name in ("sharing", "private"):
            capd.wait_group(name, lambda g: g["quality"] == "exact", "an exact count")
        session = Session(t, capd)
        capd.ctl("cap", "private", "300M")
        try:
            session.play("status-enforcing", until=enforcing)
            break
        except Missed:
            # capd was quicker than this test: anew, with processes of which nothing is paged out
            t.check(attempt < 5, "capd was not seen at work")
            capd.stop()
            for writer in writers:
                writer.end()
    session.play("status-ok", until=enforced)
    session.end()


def test_bus(t):
    """org.capd1 on a bus of the test's own."""
    source_tree(t)
    bus = Bus(t)
    t.workload("member", 20, comm="webserver", executable=t.executable_copy())
    capd = t.daemon(transcripts.BUS_CONFIG, env={"DBUS_SYSTEM_BUS_ADDRESS": bus.address})
    t.wait(bus.named, "the name on the bus", 30)
    session = Session(t, capd, bus.env)
    transcripts.bus(session, capd)
    session.end()
