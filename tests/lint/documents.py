# SPDX-License-Identifier: MIT
"""What the documentation shows: configurations, taken out of README.md and the manuals and given to capctl check."""
import os
import pwd
import re
import subprocess
import tempfile

from source import files, text

# Their paragraph says that this is read on top of the configuration shown before it.
DROP_IN = re.compile(r"\bdrop-in\b")


def shown(content, manual):
    """The examples of a document: (line, block, the paragraph before it)."""
    return _blocks_of_manual(content) if manual else _blocks_of_readme(content)


def _blocks_of_readme(content):
    """What is indented by four blanks."""
    block, start, before, paragraph = [], 0, "", []
    for number, line in enumerate([*content.splitlines(), "the end"], 1):
        if line.startswith("    ") or block and not line.strip():
            start = start or number
            block.append(line[4:])
            continue
        if block:
            yield start, "\n".join(block).rstrip() + "\n", before
            block, start = [], 0
        if line.strip():
            paragraph.append(line)
            before = " ".join(paragraph)
        else:
            paragraph = []


def _blocks_of_manual(content):
    """What is between .EX and .EE or .nf and .fi."""
    block, start, before = None, 0, []
    for number, line in enumerate(content.splitlines(), 1):
        if line in (".EX", ".nf"):
            block, start = [], number + 1
        elif line in (".EE", ".fi"):
            yield start, "\n".join(block) + "\n", " ".join(before[-8:])
            block, before = None, []
        elif block is None:
            before.append(line)
        elif not re.match(r"\.(RS|RE|in|PP|sp)\b", line):
            block.append(_plain(line))


def _plain(line):
    line = re.sub(r"\\f[BIRP]|\\f\(..|\\&|\\:|\\/|\\,", "", line)
    return line.replace("\\-", "-").replace("\\(aq", "'").replace("\\(dq", '"').replace("\\ ", " ").replace("\\e", "\\")


def _merged(first, second):
    """Two configurations as capd reads them one after the other, a later key instead of an earlier one of its section."""
    sections = {}
    for part in (first, second):
        name = None
        for line in part.splitlines():
            if line.startswith("["):
                name = line
                sections.setdefault(name, {})
            elif name and "=" in line and not line.startswith("#"):
                sections[name][line.partition("=")[0]] = line
    return "".join(f"{name}\n" + "\n".join(keys.values()) + "\n" for name, keys in sections.items())


def configurations():
    """(where, text) of every configuration that is shown or installed."""
    for path in files():
        if path == "README.md" or re.fullmatch(r"man/.*\.[1-8]", path):
            blocks = shown(text(path), path != "README.md")
        elif path == "etc/capd.conf" or path.startswith("etc/examples/") and path.endswith(".conf"):
            yield path, text(path)
            continue
        else:
            continue
        last = ""
        for line, block, before in blocks:
            if not re.match(r"(\s*#.*\n|\s*\n)*\[(Daemon|Group [^\]]+)\]\n", block):
                continue
            last = _merged(last, block) if DROP_IN.search(before) else block
            yield f"{path}:{line}", last


def _without_strangers(content):
    """Users that this host does not have stand for one that it has."""
    known = {u.pw_name for u in pwd.getpwall()}
    return re.sub(r"^(User=)(.*)$", lambda m: m[1] + " ".join("root" if w.lstrip("!") not in known else w for w in m[2].split()),
                  content, flags=re.M)


def check_configurations(capctl):
    wrong, places = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "capd.conf")
        for where, content in configurations():
            places.append(where)
            with open(path, "w", encoding="utf-8") as f:
                f.write(_without_strangers(content))
            done = subprocess.run([capctl, "check", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  errors="replace", check=False)
            if done.returncode:
                said = [line.replace(f"{path}:", "line ") for line in done.stdout.splitlines()]
                wrong += [f"{where}: {line}" for line in said or ["refused"]]
    for page in ("README.md", "man/capd.conf.5", "etc/capd.conf", "etc/examples/"):
        if not any(p.startswith(page) for p in places):
            wrong.append(f"{page}: no configuration is recognized in it")
    return wrong
