# SPDX-License-Identifier: MIT
"""What the documentation shows: configurations, taken out of README.md and the manuals and given to capctl check."""
import os
import pwd
import re
import subprocess
import tempfile

from blocks import is_configuration, shown
from source import files, text

# Their paragraph says that this is read on top of the configuration shown before it.
DROP_IN = re.compile(r"\bdrop-in\b")


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
            blocks = shown(path, text(path))
        elif path == "etc/capd.conf" or path.startswith("etc/examples/") and path.endswith(".conf"):
            yield path, text(path)
            continue
        else:
            continue
        last = ""
        for block in blocks:
            if not is_configuration(block.text):
                continue
            last = _merged(last, block.text) if DROP_IN.search(block.before) else block.text
            yield f"{path}:{block.first + 1}", last


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
