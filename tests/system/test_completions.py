# SPDX-License-Identifier: MIT
"""The completions of bash, zsh and fish, in the real shells: what becomes of a line when the Tab key is pressed."""
import os
import re
import shlex

import harness
from terminal import Terminal

COMPLETIONS = os.path.join(harness.HERE, "..", "..", "etc", "completions")
# A section with every character that a name may have, and groups named by the kernel: each/\x2f…
CONFIG = ("[Daemon]\nSampleInterval=1s\nCPUBudget=50%\n[Group first]\nComm=completed\nCap=1G\nAction=observe\n"
          "[Group odd.a:b@c-d_e]\nComm=completed\nCap=1G\nAction=observe\n"
          "[Group each]\nComm=completed\nForEach=cgroup\nCap=1G\nAction=observe\n")


def shell(t, name, *begin):
    t.need(t.run("sh", "-c", f"command -v {name.split()[0]}").returncode == 0, f"{name.split()[0]} is not installed")
    t.need(os.path.isdir(COMPLETIONS), "the completions are not with the tests")
    os.mkdir(f"{t.tmp}/bin")
    os.symlink(harness.CAPCTL, f"{t.tmp}/bin/capctl")
    t.workload("member", 8, comm="completed", executable=t.executable_copy())
    d = t.daemon(CONFIG)
    t.wait(lambda: len(d.groups()) == 3, "three groups")
    # nothing of the user's own, neither read nor written
    term = Terminal(t, 160, 24, f"HOME={shlex.quote(t.tmp)} TERM=xterm PATH={shlex.quote(t.tmp)}/bin:$PATH {name}")
    for line in begin:
        term.run(line)
    term.run("echo be''gun")
    term.shows(r"^begun")
    return d, term


def completes(t, term, typed, becomes, clear):
    """What is typed and a Tab make this of the line. What was typed before is cleared away by a key of the shell."""
    term.type(typed)
    term.shows(re.escape(typed) + "$|" + re.escape(typed) + " ")
    term.keys("Tab")
    # a screen does not show whether the line ends in a blank
    term.shows(re.escape(becomes.rstrip()), what=f"{typed!r} and Tab to become {becomes!r}")
    term.type("X")
    term.shows(re.escape(becomes + "X"), what=f"{typed!r} and Tab to become {becomes!r}")
    term.keys(clear)


def drive(t, d, term, clear, list_end=""):
    where = f"capctl --runtime-directory {d.runtime}"
    completes(t, term, "capctl expl", "capctl explain ", clear)
    completes(t, term, "capctl status --noh", "capctl status --noheadings ", clear)
    completes(t, term, "capctl status -o GROUP,RESI", f"capctl status -o GROUP,RESIDENT{list_end}", clear)
    completes(t, term, "capctl measure --output=ano", f"capctl measure --output=ANON{list_end}", clear)
    completes(t, term, f"capctl check {t.tmp}/capd/capd.co", f"capctl check {t.tmp}/capd/capd.conf ", clear)
    completes(t, term, f"{where} explain fir", f"{where} explain first ", clear)
    completes(t, term, f"{where} cap first def", f"{where} cap first default ", clear)
    # Names that a shell must quote: seen by their use.
    for begin, group in (("od", "odd.a:b@c-d_e"), ("ea", next(g for g in d.groups() if g.startswith("each/")))):
        term.keys("C-l")
        term.type(f"{where} status -n -o PROCS,GROUP {begin}")
        term.keys("Tab")
        term.shows(rf"status -n -o PROCS,GROUP {begin}\S{{5}}")
        term.keys("Enter")
        term.shows(rf"^ *1 {re.escape(group)}$", what=f"status of {group} by its completed name")
    # Without a daemon there are no groups, and nothing is said about it.
    term.keys("C-l")
    term.type(f"capctl --runtime-directory {t.tmp}/none explain fir")
    term.keys("Tab")
    term.type("MARK")
    screen = term.shows(r"explain fir *MARK")
    t.check("capctl:" not in screen and "not running" not in screen, f"without a daemon:\n{screen}")


def test_bash(t):
    library = "/usr/share/bash-completion/bash_completion"
    t.need(os.path.exists(library), "bash-completion is not installed")
    d, term = shell(t, "bash --norc --noprofile -i", f". {library}; . {shlex.quote(COMPLETIONS)}/capctl.bash", "PS1='$ '; set +o history")
    drive(t, d, term, "C-u")


def test_zsh(t):
    d, term = shell(t, "zsh -f -i", f"fpath=({shlex.quote(COMPLETIONS)} $fpath); autoload -U compinit; compinit -u -D; PS1='$ '")
    drive(t, d, term, "C-u")


def test_fish(t):
    d, term = shell(t, "fish --no-config", f"source {shlex.quote(COMPLETIONS)}/capctl.fish")
    # What fish suggests from its history is no completion.
    term.run("set -g fish_autosuggestion_enabled 0; clear; echo here")
    term.shows("^here")
    # it ends every word by a blank, also one that could go on
    drive(t, d, term, "C-u", " ")
