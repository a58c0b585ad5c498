# SPDX-License-Identifier: MIT
"""What a group was like over time: capctl history and plot, the sparkline, and the file that outlives a restart."""
import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import xml.etree.ElementTree

import harness
from harness import MIB, read
from terminal import Terminal

CONFIG = "[Daemon]\nSampleInterval=1s\nExactInterval=2s\nCPUBudget=50%\n[Group me]\nComm=histmember\nCap=1G\nAction=observe\n"


def started(t, *arguments, config=CONFIG, **options):
    d = t.daemon(config, *arguments, **options)
    d.wait_group("me", lambda g: g["quality"] == "exact", "the group to be counted")
    return d


def member(t, mib=64):
    return t.workload("member", mib, comm="histmember", executable=t.executable_copy(f"workload{mib}"))


def history(d, *arguments):
    return json.loads(d.ctl("history", "me", "-J", *arguments).stdout)["history"]


def test_history(t):
    member(t)
    d = started(t)
    rows = t.wait(lambda: [r for r in history(d) if r["quality"] == "exact" and r["resident"] >= 64 * MIB],
                  "a point of the group as it is")
    t.equal(rows[-1]["cap"], 1 << 30, "cap")
    t.equal(rows[-1]["state"], "ok", "state")
    member(t, 128)
    t.wait(lambda: history(d)[-1]["resident"] >= 192 * MIB, "the growth to be in it")
    rows = history(d)
    t.check(any(r["resident"] < 192 * MIB for r in rows), f"it was less before: {rows}")
    for a, b in zip(rows, rows[1:]):
        t.equal(a["time_usec"] + a["for_usec"], b["time_usec"], "a point begins where the one before it ends")
    table = list(csv.DictReader(io.StringIO(d.ctl("history", "me", "--csv").stdout)))
    t.check(len(table) >= len(rows), f"{len(table)} lines of CSV of {len(rows)} rows")
    t.equal(int(table[0]["resident"]), rows[0]["resident"], "the same in CSV")
    t.check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", table[0]["time"]), table[0])
    t.check("RESIDENT" in d.ctl("history", "me", "--since", "10min").stdout, "a table")
    # the reader's mistakes
    t.check("no such group" in d.ctl("history", "nobody", check=1).stderr, "a group that is not there")
    t.check("--since" in d.ctl("status", "--since", "1h", check=2).stderr, "an option of another verb")
    t.check("'never'" in d.ctl("history", "me", "--since", "never", check=2).stderr, "a time that is none")


def test_narrow_terminal(t):
    """A line a point: what would not fit is left out, and there again where there is room for it."""
    member(t)
    d = started(t)
    term = Terminal(t)
    for width, shown in ((80, False), (120, True)):
        term.tmux("resize-window", "-x", width)
        term.run(f"clear; {shlex.quote(harness.CAPCTL)} --runtime-directory {shlex.quote(d.runtime)} history me; echo at={width}")
        screen = term.shows(rf"^at={width}$")
        t.equal(bool(re.search(r"^ *TIME.* RSS-SUM .* FREED$", screen, re.M)), shown, f"columns at {width}:\n{screen}")


def test_sparkline(t):
    member(t)
    d = started(t)
    blocks = d.ctl("status", "-n", "-o", "HISTORY", env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout.strip()
    t.equal(len(blocks), 20, f"characters of {blocks!r}")
    t.check(re.fullmatch("·*[▁▂▃▄▅▆▇█]{1,2}", blocks), f"a dot where nothing is known: {blocks!r}")
    plain = d.ctl("status", "-n", "-o", "HISTORY", env={**os.environ, "LC_ALL": "C"}).stdout.strip()
    t.check(re.fullmatch(r"\.*[_~=+*%#-]{1,2}", plain), f"without UTF-8: {plain!r}")


def test_restart(t):
    member(t)
    state = os.path.join(t.tmp, "state")
    d = started(t, "--state-directory", state)
    before = t.wait(lambda: history(d), "a point")
    t.equal(d.stop(), 0, "exit status")
    t.equal(os.stat(os.path.join(state, "history")).st_uid, 0, "owner of the file")
    d = started(t, "--state-directory", state, name="again")
    after = history(d)
    # the same moment by another offset of the clocks
    t.near(after[0]["time_usec"], before[0]["time_usec"], 60e6, "the first point")
    t.check(len(after) > len(before) or after[-1]["for_usec"] > 0, "it goes on")
    # a front that is killed reads the file anew, and what it adds meets what was kept
    os.kill(d.fronts()[0], signal.SIGKILL)
    t.wait(lambda: d.try_status() is not None and history(d), "the history to be there again")
    t.near(history(d)[0]["time_usec"], before[0]["time_usec"], 60e6, "the first point")


def test_spoilt_file(t):
    """One that is damaged, foreign, or leads elsewhere is not used, the log says why, and capd goes on."""
    member(t, 8)
    state = os.path.join(t.tmp, "state")
    path = os.path.join(state, "history")
    d = started(t, "--state-directory", state)
    d.stop()
    with open(path, "r+b") as f:
        f.seek(100)
        f.write(b"\xff" * 16)
    d = started(t, "--state-directory", state, name="damaged")
    t.check("its checksum is wrong" in d.log(), d.log())
    d.stop()
    with open(path, "wb") as f:
        f.write(b"something else altogether, and long enough to have a header\n")
    d = started(t, "--state-directory", state, name="foreign")
    t.check("it is no history" in d.log(), d.log())
    d.stop()
    os.unlink(path)
    victim = os.path.join(t.tmp, "victim")
    with open(victim, "w", encoding="ascii") as f:
        f.write("mine")
    os.symlink(victim, path)
    d = started(t, "--state-directory", state, name="link")
    t.check("Cannot read the history" in d.log(), d.log())
    t.equal(d.stop(), 0, "exit status")
    t.check("Cannot write" in d.log(), d.log())
    t.equal(read(victim), "mine", "what a link leads to")


def test_without_history(t):
    member(t, 8)
    d = started(t, config=CONFIG.replace("[Group", "HistorySize=0\n[Group", 1))
    t.check("HistorySize=0" in d.ctl("history", "me", check=1).stderr, "why there is none")


def svg(text):
    root = xml.etree.ElementTree.fromstring(text)
    return root, [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]


def test_plot(t):
    member(t)
    d = started(t, config=CONFIG + "[Group other]\nUid=0\nAction=observe\n")
    t.wait(lambda: len(history(d)) > 1 or history(d)[0]["for_usec"], "a stretch of time")
    text = d.ctl("plot", "me", "other").stdout
    root, words = svg(text)
    t.check("me" in words and "other" in words, f"both groups: {words}")
    t.check("cap 1G" in " ".join(words), f"the cap in the legend: {words}")
    t.check("prefers-color-scheme:dark" in text, "colours for dark backgrounds")
    width, height = float(root.get("width")), float(root.get("height"))
    for e in root.iter("{http://www.w3.org/2000/svg}text"):
        t.check(0 <= float(e.get("x")) <= width and 0 <= float(e.get("y")) <= height, f"{e.text} lies outside")
    _, words = svg(d.ctl("plot", "me", "--since", "2d").stdout)
    t.check(any(re.fullmatch(r"[A-Z][a-z]{2} [ \d]\d|\d\d:\d\d", w) for w in words), f"ticks of two days: {words}")
    t.check("no such group" in d.ctl("plot", "nobody", check=1).stderr, "a group that is not there")
    t.need(shutil.which("rsvg-convert"), "rsvg-convert is not installed: nobody to draw it")
    png = os.path.join(t.tmp, "plot.png")
    with open(os.path.join(t.tmp, "plot.svg"), "w", encoding="utf-8") as f:
        f.write(text)
    t.run("rsvg-convert", "-o", png, f.name, check=0)
    with open(png, "rb") as f:
        t.equal(f.read(8), b"\x89PNG\r\n\x1a\n", "the beginning of a picture")
