# SPDX-License-Identifier: MIT
"""capctl top in a real terminal: what the screen shows, in tmux with a server of its own."""
import json
import os
import re
import shlex
import signal

import harness
from terminal import Terminal

CONFIG = ("[Daemon]\nSampleInterval=1s\nCPUBudget=50%\n"
          "[Group small]\nComm=topsmall\nCap=64M\nAction=observe\n"
          "[Group large]\nComm=toplarge\nCap=16M\nAction=observe\n"
          "[Group none]\nComm=nobody-has-it\nAction=observe\nCap=64M\n")


def command(d):
    return " ".join(map(shlex.quote, [harness.CAPCTL, "--runtime-directory", d.runtime, "top", "-w", "0.2"]))


def large(d):
    """The process of the group large."""
    return json.loads(d.ctl("ps", "-J", "large").stdout)["processes"][0]["pid"]


def started(t):
    t.workload("member", 24, comm="toplarge", executable=t.executable_copy("large"))
    t.workload("member", 8, comm="topsmall", executable=t.executable_copy("small"))
    d = t.daemon(CONFIG)
    d.wait_state("large", "observed")
    d.wait_state("small", "ok")
    return d


# The line of keys, which is drawn last.
KEYS = r"^q quit .*\s*\Z"


def shows_order(term, *patterns, names):
    """Waits for the groups in this order, on a screen with these patterns."""
    return term.until(lambda screen: re.findall(r"^(small|large|none)\b", screen, re.M)[:len(names)] == names and
                      all(re.search(p, screen, re.M) for p in patterns), f"{patterns} and the order {names}")


def written(t, path):
    """What a shell has put there by a rename, so that it is whole."""
    t.wait(lambda: os.path.exists(path), f"{os.path.basename(path)} to be written")
    return harness.read(path)


def noting(path, command_line):
    """A command line with the terminal's settings before and after it, in files PATH-before and PATH-after."""
    path = shlex.quote(path)
    return f"stty -a >{path}-before; {command_line}; stty -a >{path}-new; mv {path}-new {path}-after"


def test_table_sorting_and_pages(t):
    d = started(t)
    term = Terminal(t)
    term.run(noting(f"{t.tmp}/stty", f"{command(d)}; echo status=$?"))
    # What is nearest to its cap comes first; a group over it has its bar filled beyond the mark of the cap.
    shows_order(term, r"^GROUP +STATE +RESIDENT +CAP +USE%", r"^capd: 3 groups +host .* in use", KEYS,
                r"^large +observed .*\[=+:=*\|=*>\]", r"^small +ok .*\[=* *: *\| *\]", names=["large", "small", "none"])
    term.keys("n")
    shows_order(term, r"sort \(GROUP\)", names=["large", "none", "small"])
    term.keys("r")
    shows_order(term, r"GROUP, reversed", names=["small", "none", "large"])
    # two columns to the right
    term.keys("r", ">", ">")
    shows_order(term, r"sort \(RESIDENT\)", names=["large", "small"])
    term.keys("End")
    term.keys("Home")
    # the reason of the chosen group is in the line above the keys
    term.shows(r"^over its cap of 16M; Action=observe")
    term.keys("Enter")
    term.shows(r"^ *= .* resident: each page once")
    term.keys("p")
    # its only process, by number and program
    term.shows(r"^ +PID USER +RSS", rf"^ *{large(d)} root .*/large\b")
    term.keys("Escape")
    term.shows(r"^large +observed")
    term.keys("h")
    term.shows(r"^Enter, e +explain")
    term.keys("q")
    term.shows(r"^large +observed")
    term.keys("q")
    # the table is not left on the terminal
    term.shows(r"^status=0$", without="q quit")
    t.equal(written(t, f"{t.tmp}/stty-after"), written(t, f"{t.tmp}/stty-before"), "stty before and after")


def test_resized(t):
    d = started(t)
    term = Terminal(t)
    term.run(command(d))
    term.shows(r"^large +observed")
    term.tmux("resize-window", "-x", 40, "-y", 10)
    screen = term.shows(r"^GROUP +STATE +RESIDENT +USE%$", r"^large +observed")
    t.check(len(screen.splitlines()) <= 10 and max(map(len, screen.splitlines())) <= 40, f"40x10:\n{screen}")
    term.tmux("resize-window", "-x", 160, "-y", 30)
    term.shows(r"^GROUP .* CAP +USE% .* TREND +SWAP +PROCS +AGE +RSS-SUM$")
    term.tmux("resize-window", "-x", 8, "-y", 3)
    term.tmux("resize-window", "-x", 80, "-y", 24)
    term.shows(r"^large +observed")
    term.keys("q")
    term.shows(r"^\$ $|^\$$")


def test_many_groups_scroll(t):
    config = "[Daemon]\nSampleInterval=1s\n" + "".join(
        f"[Group g{i:03d}]\nComm=nobody-has-{i}\nCap=64M\nAction=observe\n" for i in range(300))
    d = t.daemon(config)
    term = Terminal(t, 80, 24)
    term.run(command(d))
    term.shows(r"^capd: 300 groups")
    term.keys("n")
    term.shows(r"^g000 ")
    term.keys("End")
    term.shows(r"^g299 ", without="g000")
    term.keys("PPage")
    term.shows(r"^g281 ")
    term.keys("Home")
    term.shows(r"^g000 ")
    term.keys("q")


def test_daemon_that_goes_and_comes(t):
    d = started(t)
    term = Terminal(t)
    term.run(command(d))
    term.shows(r"^large +observed")
    t.equal(d.stop(), 0, "exit status of capd")
    # and what was known is still there
    term.shows(r"^Figures of .* ago, trying again: capd is not running", r"^large +observed")
    t.daemon(CONFIG.replace("small", "smaller"))
    term.shows(r"^smaller +", without="not running")
    term.keys("q")


def test_page_of_processes(t):
    """All of them, the last one and an only one too."""
    d = started(t)
    member, = (p["pid"] for p in json.loads(d.ctl("ps", "small", "-J").stdout)["processes"])
    term = Terminal(t)
    term.run(command(d))
    term.shows(r"^small +ok")
    term.keys("n", "End", "p")
    term.shows(r"^ *PID +USER", rf"^ *{member} ", r"arrows move +small")
    term.keys("q", "q")


def test_ended_by_a_signal(t):
    """The terminal is as it was, also while a call waits for an engine that does not answer."""
    d = started(t)
    term = Terminal(t)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        path = f"{t.tmp}/stty{number}"
        term.run(noting(path, command(d)) + "; clear")
        term.shows(r"^large +observed")
        if number == signal.SIGTERM:
            os.kill(d.pid, signal.SIGSTOP)
            t.cleanup(os.kill, d.pid, signal.SIGCONT)
            term.keys("e")
            term.shows(r"counting")
        os.kill(t.wait(lambda: term.child("capctl"), "capctl to run"), number)
        after = written(t, f"{path}-after")
        os.kill(d.pid, signal.SIGCONT)
        t.equal(after, harness.read(f"{path}-before"), f"stty before and after signal {number}")
        term.shows(r"^\$")


def test_no_terminal(t):
    """One line that names what does work, and no waiting."""
    d = started(t)
    done = d.ctl("top", check=1)
    t.equal(len(done.stderr.splitlines()), 1, f"lines of {done.stderr!r}")
    t.check("capctl status -w" in done.stderr, f"what to do instead: {done.stderr!r}")
    term = Terminal(t)
    for name in ("dumb", "no-such-terminal"):
        term.run(f"clear; TERM={name} {command(d)}; echo {name}=$?")
        term.until(lambda screen: re.search(rf"^{name}=1$", screen, re.M) and "capctl status -w" in screen.replace("\n", ""),
                   f"what to do instead with TERM={name}")


def test_no_daemon(t):
    term = Terminal(t)
    term.run(f"{shlex.quote(harness.CAPCTL)} --runtime-directory {shlex.quote(t.tmp)}/none top; echo status=$?")
    term.shows(r"^status=3$", "capd is not running")
