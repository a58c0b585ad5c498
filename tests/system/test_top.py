# SPDX-License-Identifier: MIT
"""capctl top in a real terminal: what the screen shows, in tmux with a server of its own."""
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


def started(t):
    t.workload("member", 24, comm="toplarge", executable=t.executable_copy("large"))
    t.workload("member", 8, comm="topsmall", executable=t.executable_copy("small"))
    d = t.daemon(CONFIG)
    d.wait_state("large", "observed")
    d.wait_state("small", "ok")
    return d


def order(screen):
    return re.findall(r"^(small|large|none)\b", screen, re.M)


def test_table_sorting_and_pages(t):
    d = started(t)
    term = Terminal(t)
    term.run(f"stty -a >{shlex.quote(t.tmp)}/before; {command(d)}"
             f"; echo status=$?; stty -a >{shlex.quote(t.tmp)}/after")
    screen = term.shows(r"^large +observed")
    t.check(re.search(r"^GROUP +STATE +RESIDENT +CAP +USE%", screen, re.M), f"headings:\n{screen}")
    t.check(re.search(r"^capd: 3 groups +host .* in use", screen), f"the host:\n{screen}")
    t.check(re.search(r"q quit", screen.rstrip().splitlines()[-1]), f"the keys:\n{screen}")
    # What is nearest to its cap comes first; a group over it has its bar filled beyond the mark of the cap.
    t.equal(order(screen), ["large", "small", "none"], "order by USE%")
    t.check(re.search(r"^large .*\[=+:=*\|=*>\]", screen, re.M), f"bar of large:\n{screen}")
    t.check(re.search(r"^small .*\[=* *: *\| *\]", screen, re.M), f"bar of small:\n{screen}")
    term.keys("n")
    term.shows(r"sort \(GROUP\)")
    t.equal(order(term.screen()), ["large", "none", "small"], "order by name")
    term.keys("r")
    term.shows(r"GROUP, reversed")
    t.equal(order(term.screen()), ["small", "none", "large"], "the other way round")
    term.keys("r", ">", ">")
    term.shows(r"sort \(RESIDENT\)")
    t.equal(order(term.screen())[:2], ["large", "small"], "order by RESIDENT, two columns to the right")
    term.keys("End")
    term.keys("Home")
    # the reason of the chosen group is in the line above the keys
    term.shows(r"^over its cap of 16M; Action=observe")
    term.keys("Enter")
    term.shows(r"^ *= .* resident: each page once")
    term.keys("p")
    term.shows(r"^ +PID USER +RSS")
    t.check("toplarge" in term.screen() or "large" in term.screen(), f"the process:\n{term.screen()}")
    term.keys("Escape")
    term.shows(r"^large +observed")
    term.keys("h")
    term.shows(r"^Enter, e +explain")
    term.keys("q")
    term.shows(r"^large +observed")
    term.keys("q")
    screen = term.shows(r"^status=0$")
    t.check("q quit" not in screen, f"the table is left on the terminal:\n{screen}")
    t.wait(lambda: os.path.exists(f"{t.tmp}/after"), "stty after it", 30)
    t.equal(harness.read(f"{t.tmp}/after"), harness.read(f"{t.tmp}/before"), "stty before and after")


def test_resized(t):
    d = started(t)
    term = Terminal(t)
    term.run(command(d))
    term.shows(r"^large +observed")
    term.tmux("resize-window", "-x", 40, "-y", 10)
    screen = term.shows(r"^GROUP +STATE +RESIDENT +USE%$")
    term.shows(r"^large +observed")
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
    screen = term.shows(r"^g299 ")
    t.check("g000" not in screen, f"the first is still there:\n{screen}")
    term.keys("PPage")
    screen = term.shows(r"^g281 ")
    term.keys("Home")
    term.shows(r"^g000 ")
    term.keys("q")


def test_daemon_that_goes_and_comes(t):
    d = started(t)
    term = Terminal(t)
    term.run(command(d))
    term.shows(r"^large +observed")
    t.equal(d.stop(), 0, "exit status of capd")
    screen = term.shows(r"^Figures of .* ago, trying again: capd is not running")
    t.check(re.search(r"^large +observed", screen, re.M), f"what was known is gone:\n{screen}")
    t.daemon(CONFIG.replace("small", "smaller"))
    term.shows(r"^smaller +")
    t.check("not running" not in term.screen(), f"it goes on:\n{term.screen()}")
    term.keys("q")


def test_ended_by_a_signal(t):
    """The terminal is as it was, also while a call waits for an engine that does not answer."""
    d = started(t)
    term = Terminal(t)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        before, after = f"{t.tmp}/before{number}", f"{t.tmp}/after{number}"
        term.run(f"stty -a >{shlex.quote(before)}; {command(d)}; stty -a >{shlex.quote(after)}; clear")
        term.shows(r"^large +observed")
        if number == signal.SIGTERM:
            os.kill(d.pid, signal.SIGSTOP)
            t.cleanup(os.kill, d.pid, signal.SIGCONT)
            term.keys("e")
            term.shows(r"counting")
        os.kill(t.wait(lambda: term.child("capctl"), "capctl to run"), number)
        t.wait(lambda: os.path.exists(after) and harness.read(after), f"the end by signal {number}", 15)
        os.kill(d.pid, signal.SIGCONT)
        t.equal(harness.read(after), harness.read(before), f"stty before and after signal {number}")
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
        screen = term.shows(rf"^{name}=1$")
        t.check("capctl status -w" in screen.replace("\n", ""), f"with TERM={name}:\n{screen}")


def test_no_daemon(t):
    term = Terminal(t)
    term.run(f"{shlex.quote(harness.CAPCTL)} --runtime-directory {shlex.quote(t.tmp)}/none top; echo status=$?")
    screen = term.shows(r"^status=3$")
    t.check("capd is not running" in screen, f"without a daemon:\n{screen}")
