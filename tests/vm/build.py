# SPDX-License-Identifier: MIT
"""What a guest is made of: the cached image and build chroot of its release, capd built in that chroot, the disk with both.

The cache is ${CAPD_TESTS_CACHE}, else capd-tests under ${XDG_CACHE_HOME}, else under /var/cache. An entry is named after
the hash of tests/vm/recipe, is never changed once it is there, and goes when nobody has used it for two weeks. Any number
of runs may share it.
"""
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import source  # noqa: E402
from source import ROOT  # noqa: E402

RECIPE = os.path.join(HERE, "recipe")
RELEASES = {"12": "bookworm", "13": "trixie"}
UNUSED_SECONDS = 14 * 24 * 3600
# Where the tests are in a guest.
GUEST_DIRECTORY = "opt/capd-tests"


def cache_directory():
    return (os.environ.get("CAPD_TESTS_CACHE")
            or os.path.join(os.environ.get("XDG_CACHE_HOME") or "/var/cache", "capd-tests"))


def recipe_key():
    with open(RECIPE, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()[:12]


class Entry:
    """One directory of the cache, made if it is not there, and held against removal until close().

    What the recipe makes is completed by finish(directory).
    """

    def __init__(self, what, release, runner, finish=None):
        self.cache = cache_directory()
        self.prefix = f"{what}-{release}-"
        self.path = os.path.join(self.cache, self.prefix + recipe_key())
        os.makedirs(self.cache, exist_ok=True)
        # Who uses it holds it shared for as long as the guest runs: only who makes it may wait for that.
        self.lock = self._locked(self.path, fcntl.LOCK_SH)
        if not os.path.isdir(self.path):
            fcntl.flock(self.lock, fcntl.LOCK_EX)
            if not os.path.isdir(self.path):
                self._make(what, release, runner, finish)
            fcntl.flock(self.lock, fcntl.LOCK_SH)
        os.utime(self.path)
        self._forget_others()

    def _locked(self, path, how=fcntl.LOCK_EX):
        fd = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, how)
        except OSError:
            os.close(fd)
            raise
        return fd

    def _make(self, what, release, runner, finish):
        unfinished = self.path + ".new"
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            runner([RECIPE, what, RELEASES[release], unfinished], f"make the {what}")
            if finish:
                finish(unfinished)
            os.rename(unfinished, self.path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _forget_others(self):
        for name in os.listdir(self.cache):
            path = os.path.join(self.cache, name)
            if not name.startswith(self.prefix) or name.endswith(".lock") or path == self.path:
                continue
            try:
                if os.stat(path).st_mtime > time.time() - UNUSED_SECONDS:
                    continue
                lock = self._locked(path.removesuffix(".new"), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue  # in use, or just gone
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)

    def file(self, name):
        return os.path.join(self.path, name)

    def close(self):
        os.close(self.lock)


# In a mount namespace of its own, so that nothing stays mounted whatever happens.
BUILD_SCRIPT = r"""
set -eu
root=$1 source=$2 build=$3 commands=$4
mount --bind "$source" "$root/source"
mount -o remount,bind,ro "$root/source"
mount --bind "$build" "$root/build"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 sh -euc "$commands"
"""

INSTALL = r"""
again=
[ ! -d /build/meson-private ] || again=--reconfigure
meson setup $again /build /source -Dbuildtype=release -Dwerror=true
meson compile -C /build
rm -rf /build/installed
DESTDIR=/build/installed meson install -C /build --no-rebuild
"""

# The command of README.md. The unit tests are run elsewhere, and -d is for the C++ compiler, which the chroot goes without.
PACKAGE = r"""
cd /build/%s
cp -a etc/debian debian
export DEB_BUILD_OPTIONS="nocheck noautodbgsym parallel=$(nproc)"
dpkg-buildpackage -us -uc -b -d
"""


def _in_chroot(chroot, build, commands, what, runner):
    runner(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c", BUILD_SCRIPT, "build",
            chroot.file("root"), ROOT, build, commands], what)


def build_capd(release, chroot, directory, runner):
    """Builds capd for a release as its administrator would, below `directory`. The build directory."""
    place = hashlib.sha256(ROOT.encode()).hexdigest()[:12]
    build = os.path.join(directory or cache_directory(), f"vm-{release}-{recipe_key()}" + ("" if directory else f"-{place}"))
    os.makedirs(build, exist_ok=True)
    _in_chroot(chroot, build, INSTALL, "build capd", runner)
    return build


def tests_package(patterns):
    """Whether one of the tests that these patterns choose is about the Debian package."""
    names = re.findall(r"^def test_(\w+)", source.text("tests/vm/guest/test_package.py"), re.M)
    return not patterns or any(p in f"vm.package.{name}" for name in names for p in patterns)


def build_package(chroot, directory, runner):
    """Builds the Debian package from a clean checkout, in `directory`. Its path."""
    shutil.rmtree(directory, ignore_errors=True)
    checkout = source.export(directory)
    _in_chroot(chroot, directory, PACKAGE % os.path.basename(checkout), "build the Debian package", runner)
    return os.path.join(directory, next(name for name in os.listdir(directory) if name.endswith(".deb")))


def _ours(member):
    """Files in the guest are root's, whoever the developer is."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _source(member):
    return None if "__pycache__" in member.name else _ours(member)


def write_payload(path, build, package, settings):
    """The tar that the guest unpacks over its root directory: capd as installed, the tests, and what to do.

    The Debian package, if there is one, is not unpacked: vm.package puts it in the place of what was installed.
    """
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(os.path.join(build, "installed"), ".", filter=_ours)
        for folder in ("system", "vm/guest"):
            tar.add(os.path.join(ROOT, "tests", folder), f"{GUEST_DIRECTORY}/{folder}", filter=_source)
        for program in ("system/workload", "vm/damon-driver", "vm/reclaim-driver", "vm/damon-target"):
            tar.add(os.path.join(build, "tests", program), f"{GUEST_DIRECTORY}/{os.path.basename(program)}", filter=_ours)
        for name in ("blocks.py", "../README.md", "../man"):
            tar.add(os.path.join(ROOT, "tests", name), f"{GUEST_DIRECTORY}/{os.path.basename(name)}", filter=_ours)
        if package:
            tar.add(package, f"{GUEST_DIRECTORY}/capd.deb", filter=_ours)
            tar.add(os.path.join(ROOT, "etc/debian/tests"), f"{GUEST_DIRECTORY}/package-tests", filter=_source)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as f:
            json.dump(settings, f)
            f.flush()
            os.chmod(f.name, 0o644)
            tar.add(f.name, f"{GUEST_DIRECTORY}/settings.json", filter=_ours)
