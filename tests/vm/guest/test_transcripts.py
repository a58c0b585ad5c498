# SPDX-License-Identifier: MIT
"""What README.md shows of capctl explain about cgroups, against what it prints here. The rest is in tests/system/test_documents.py."""
import os
import re

import harness
from harness import read
from test_documents import FIGURE

README = os.path.join(os.path.dirname(harness.WORKLOAD), "README.md")


# Lines that are there if there is something to say.
OPTIONAL = ("swap cache that nobody maps", "network buffers")


def shape(text):
    """The lines with figures, as (sign, words), without the names of cgroups; other cgroups' charges count as one line."""
    found = []
    for m in filter(None, map(FIGURE.match, text.splitlines())):
        sign, words = m[1], re.sub(r"(?<!\S)/\S*", "/…", m[3])
        if words.startswith(OPTIONAL):
            continue
        if words.startswith("the rest:"):
            sign = "+ or -"
        elif words == "no cgroup" or re.fullmatch(r"\d+ more cgroups?", words):
            words = "/…"
        if words != "/…" or found[-1][1] != words:
            found.append((sign, words))
    return found


def test_explain(t):
    """Line by line but for the figures, for a group that is one service."""
    blocks = [b for b in re.findall(r"(?m)(?:^    .*\n|^\n)+", read(README)) if "charged for its resident pages:" in b]
    t.equal(len(blocks), 1, "transcripts of explain with cgroups in README.md")
    shown = re.sub(r"(?m)^    ", "", blocks[0])
    _, unit = t.unit_workload("family", 8, 3)
    capd = t.service(f"[Group program]\nUnit={unit.name}\nCap=1G\n")
    capd.wait_group("program", lambda g: g["quality"] == "exact", "an exact count")
    printed = capd.ctl("explain", "program", check=0).stdout
    t.keep("text", printed)
    t.equal(shape(shown), shape(printed), "lines of explain in README.md, and here")
    for pattern in (r"^\d+ processes, every page counted .* ago$", r"^memory\.current says \S+, capd \S+\. They (agree\.|differ because)$",
                    r"^state +ok for ", r"^cap +1G, \d+% used; enforcement stops at 972\.8M$", r"^action +pageout$"):
        for what, text in (("README.md", shown), ("capctl explain", printed)):
            t.check(re.search(pattern, text, re.M), f"{what} has no line like {pattern!r}")
