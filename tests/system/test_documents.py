# SPDX-License-Identifier: MIT
"""What capctl prints here, against what README.md and capctl(1) show of it: columns, lines and keys, but for the figures."""
import json
import os
import re
import sys


TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SIZE = r"[<>~]?\d+(\.\d+)?[BKMGT]|\?|-"
CELLS = {"GROUP": r"\S+", "STATE": r"[a-z]+", "RESIDENT": SIZE, "CAP": SIZE, "USE%": r"\d+|-", "RSS-SUM": SIZE, "SWAP": SIZE,
         "TREND": r"0|-|-?\d+(\.\d+)?[BKMGT]/s", "PROCS": r"\d+", "AGE": r"\d+(us|ms|s|min|h)|-"}
# A line of explain with a figure: its sign, the two figures, what they are.
FIGURE = re.compile(r"^ *([-+=]?) +[\d.]+[BKMGT] +(\d+)  (.*)$")


def documents(t):
    t.need(os.path.exists(f"{TESTS}/source.py"), "the source tree is not here")
    sys.path[:0] = [TESTS, f"{TESTS}/lint"]
    import documents as d
    import source
    return [block for _, block, _ in d.shown(source.text("README.md"), manual=False)], source.text("man/capctl.1")


def tables(blocks):
    """The tables of groups among indented blocks, each as a list of rows."""
    found = []
    for block in blocks:
        lines = block.splitlines()
        if lines[0].startswith("GROUP "):
            # Sentences about the groups may follow.
            rows = [line.split() for line in lines]
            found.append([row for row in rows if len(row) == len(rows[0])])
    return found


def judge_table(t, rows, columns, what):
    t.equal(rows[0], columns, f"columns of {what}")
    t.check(len(rows) > 1, f"{what} has no rows")
    for row in rows[1:]:
        for column, cell in zip(rows[0], row):
            t.check(re.fullmatch(CELLS.get(column, r"\S+"), cell), f"{what} shows {cell!r} as {column}")


def lines_of_explain(text):
    """Sign and words of the lines with figures, down to where those about cgroups begin."""
    return [(m[1], m[3]) for line in text.partition("charged for its resident pages")[0].splitlines() for m in [FIGURE.match(line)] if m]


def test_transcripts(t):
    """Tables of status and lines of explain have the columns and the words that README.md shows."""
    blocks, manual = documents(t)
    exe = t.executable_copy()
    t.workload("family", 8, 3, executable=exe)
    capd = t.daemon(f"[Daemon]\nSampleInterval=1s\n[Group program]\nExe={exe}\nCap=1G\n")
    capd.wait_group("program", lambda g: g["quality"] == "exact", "an exact count")

    printed = tables([capd.ctl("status", check=0).stdout])
    columns = printed[0][0]
    judge_table(t, printed[0], columns, "capctl status")
    shown = tables(blocks)
    t.check(len(shown) >= 3, f"README.md shows {len(shown)} tables")
    for number, rows in enumerate(shown, 1):
        judge_table(t, rows, columns, f"table {number} of README.md")

    printed = lines_of_explain(capd.ctl("explain", "program", check=0).stdout)
    shown = [lines for lines in map(lines_of_explain, blocks) if lines]
    t.equal(len(shown), 1, "transcripts of explain in README.md")
    t.equal(shown[0], printed, "lines of explain in README.md, and here")

    example = re.search(r"^\.SH JSON\n.*?^\.EX\n(.*?)^\.EE", manual, re.M | re.S)[1]
    keys = set(json.loads(example)["groups"][0])
    t.check(keys <= set(json.loads(capd.ctl("status", "-J", check=0).stdout)["groups"][0]), f"keys in capctl(1): {sorted(keys)}")


def test_sums_in_readme(t):
    """The arithmetic that README.md shows is right, to the byte."""
    blocks, _ = documents(t)
    sums = 0
    for block in blocks:
        total = None
        for line in block.splitlines():
            m = FIGURE.match(line)
            if not m:
                total = None
            elif m[1] == "=":
                t.equal(total, int(m[2]), f"sum before {line!r}")
                sums += 1
            elif m[1]:
                total += int(m[2]) * (-1 if m[1] == "-" else 1)
            else:
                total = int(m[2])
    t.check(sums >= 5, f"README.md shows {sums} sums")
