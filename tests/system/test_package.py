# SPDX-License-Identifier: MIT
"""Packages of a clean checkout, built as README.md says and read by the checkers of the distributions.

vm.package in tests/vm/guest installs, upgrades and purges the Debian one.
"""
import glob
import os
import re
import shutil
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COPY = "cp -a etc/debian debian && dpkg-buildpackage -us -uc -b"
LIMIT = 1200


def export(t, *tools):
    """A clean checkout. Its path."""
    t.need(os.path.exists(f"{TESTS}/source.py"), "the source tree is not here")
    for tool in tools:
        t.need(shutil.which(tool), f"{tool} is not installed")
    sys.path.insert(0, TESTS)
    import source
    t.check(COPY in source.text("README.md"), f"README.md does not say {COPY}")
    return source.export(t.tmp)


def build(t, *argv, **options):
    done = t.run("nice", *argv, timeout=LIMIT, **options)
    t.equal(done.returncode, 0, f"the build says {(done.stdout + done.stderr)[-3000:]}, and its status")


def test_debian_package(t):
    """A source and a binary package that lintian has nothing against, and that caps nothing as installed."""
    tree = export(t, "dpkg-buildpackage", "dh", "lintian")
    t.need(t.run("dpkg-checkbuilddeps", "-P", "nocheck", f"{tree}/etc/debian/control").returncode == 0,
           "not all build dependencies of the package are installed")
    shutil.copytree(f"{tree}/etc/debian", f"{tree}/debian")
    t.run("dpkg-source", "-b", tree, cwd=t.tmp, check=0)
    shutil.rmtree(f"{tree}/debian")
    options = "nocheck noautodbgsym parallel=2"
    build(t, "sh", "-c", COPY, cwd=tree, env={**os.environ, "DEB_BUILD_OPTIONS": options})
    done = t.run("lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0",
                 *glob.glob(f"{t.tmp}/*.changes"), *glob.glob(f"{t.tmp}/*.dsc"), timeout=300)
    t.equal(done.returncode, 0, f"lintian says {done.stdout[-3000:]}{done.stderr[-1000:]}, and its status")
    package, = glob.glob(f"{t.tmp}/capd_*.deb")
    t.equal(t.run("dpkg-deb", "-f", package, "Package", check=0).stdout.strip(), "capd", "name of the package")
    t.run("dpkg-deb", "-R", package, f"{t.tmp}/root", check=0)
    with open(f"{t.tmp}/root/DEBIAN/conffiles", encoding="utf-8") as f:
        t.check("/etc/capd.conf" in f.read().split(), "/etc/capd.conf is not a configuration file to dpkg")
    sections = [line for line in open(f"{t.tmp}/root/etc/capd.conf", encoding="utf-8") if re.match(r"\s*\[", line)]
    t.equal(sections, [], "sections in force as installed")
    for name in ("usr/sbin/capd", "usr/bin/capctl", "usr/share/man/man8/capd.8.gz", "usr/share/doc/capd/README.md.gz"):
        t.check(os.path.exists(f"{t.tmp}/root/{name}"), f"there is no {name} in the package")


test_debian_package.limit = LIMIT


def test_rpm_package(t):
    """A package from the RPM specification, that rpmlint finds no error in."""
    tree = export(t, "rpmbuild", "rpmlint")
    spec = f"{tree}/etc/rpm/capd.spec"
    os.mkdir(f"{t.tmp}/SOURCES")
    t.run("tar", "-C", t.tmp, "-czf", f"{t.tmp}/SOURCES/{os.path.basename(tree)}.tar.gz", os.path.basename(tree), check=0)
    # What it needs is not known by rpm's names here, and the unit tests are run elsewhere.
    build(t, "rpmbuild", "--define", f"_topdir {t.tmp}", "--nodeps", "--without", "check", "-bb", spec)
    package, = glob.glob(f"{t.tmp}/RPMS/*/capd-[0-9]*.rpm")
    done = t.run("rpmlint", "-r", f"{tree}/etc/rpm/capd.rpmlintrc", spec, package)
    t.check(re.search(r" 1 specfiles checked; 0 errors", done.stdout),
            f"rpmlint says {done.stdout[-3000:]}{done.stderr[-1000:]}")
    t.note(done.stdout.strip().splitlines()[-1].strip())
    files = t.run("rpm", "-qpl", package, check=0).stdout.split()
    for name in ("/usr/sbin/capd", "/usr/bin/capctl", "/usr/share/man/man8/capd.8", "/usr/share/doc/capd/README.md"):
        t.check(name in files, f"there is no {name} among {files}")
    t.check("/etc/capd.conf" in t.run("rpm", "-qpc", package, check=0).stdout.split(), "/etc/capd.conf is no configuration file")


test_rpm_package.limit = LIMIT
