# SPDX-License-Identifier: MIT
"""The source tree, as those tests see it that are about its files or start from a clean copy of them."""
import os
import re
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def files(*suffixes):
    """What git knows of or would add; without git, everything but hidden and build folders."""
    try:
        out = subprocess.run(["git", "-C", ROOT, "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others",
                              "--exclude-standard"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
        found = [os.fsdecode(f) for f in out.split(b"\0") if f]
    except (OSError, subprocess.CalledProcessError):
        found = []
        for folder, folders, names in os.walk(ROOT):
            folders[:] = [f for f in folders if not f.startswith(".") and not f.startswith("build")]
            found += [os.path.relpath(os.path.join(folder, n), ROOT) for n in names]
    return sorted(f for f in set(found) if (not suffixes or f.endswith(suffixes)) and os.path.isfile(os.path.join(ROOT, f)))


def text(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def version():
    return re.search(r"^\s*version : '([0-9.]+)'", text("meson.build"), re.M)[1]


def export(directory):
    """A clean checkout in directory/capd-VERSION, which is made anew. Its path."""
    target = os.path.join(directory, f"capd-{version()}")
    shutil.rmtree(target, ignore_errors=True)
    for name in files():
        os.makedirs(os.path.dirname(os.path.join(target, name)), exist_ok=True)
        shutil.copy2(os.path.join(ROOT, name), os.path.join(target, name))
    return target
