# SPDX-License-Identifier: MIT
"""The Debian package, as dpkg installs, upgrades, removes and purges it, in the place of what "meson install" gave."""
import os
import re
import subprocess
import tarfile

import harness
from guest import CONFIG
from harness import children, read

FOLDER = os.path.dirname(harness.WORKLOAD)
PACKAGE = f"{FOLDER}/capd.deb"
# What the guest was made of, see tests/vm/build.py; capd as installed is in there.
PAYLOAD = "/dev/vdb"
DROPIN = "/etc/capd.conf.d/40-mine.conf"
LIMIT = 600


def installed_by_meson():
    """Files and links, as paths without the first slash."""
    with tarfile.open(PAYLOAD) as tar:
        names = [os.path.normpath(m.name) for m in tar if not m.isdir()]
    return [n for n in names if not n.startswith("opt/")]


def files_of_capd():
    """What is called after capd where packages put their files, apart from what is not the package's business."""
    found = []
    for top in ("/etc", "/lib/systemd", "/usr", "/var/lib", "/run"):
        for folder, folders, names in os.walk(top):
            found += [os.path.join(folder, n) for n in names + folders if "capd" in n or "capctl" in n]
    # The tests' own unit and results; cgroups and transient units of tests are in /run/systemd.
    return sorted(set(f for f in found if not re.search(r"capd-(tests|out)|^/run/(systemd|user)/|/installed-tests/", f)))


def dpkg(t, *arguments):
    """dpkg without a terminal to ask on: it keeps changed configuration files, as somebody who hits Return does."""
    done = t.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--force-confdef", "--force-confold", *arguments, timeout=240)
    t.equal(done.returncode, 0, f"dpkg {arguments[0]} says {done.stdout[-1500:]} {done.stderr[-1500:]}, and its status")


def in_catalog(t):
    return bool(re.search(r"\bcapd\b", t.run("journalctl", "--no-pager", "--list-catalog", check=0).stdout))


def version(t):
    done = t.run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "capd")
    return done.stdout if done.returncode == 0 else None


def restore(t):
    if version(t):
        t.run("dpkg", "--purge", "capd", timeout=240)
    t.run("rm", "-f", DROPIN, f"{CONFIG}.dpkg-dist")
    if os.path.isdir(os.path.dirname(DROPIN)) and not os.listdir(os.path.dirname(DROPIN)):
        os.rmdir(os.path.dirname(DROPIN))
    t.run("tar", "-xf", PAYLOAD, "-C", "/", "--keep-directory-symlink", "--exclude=opt", check=0)
    for step in (["systemd-sysusers"], ["systemctl", "daemon-reload"], ["systemctl", "reload", "dbus.service"],
                 ["systemctl", "enable", "capd.service"]):
        t.run(*step, check=0)


def without_meson(t):
    """Takes away what "meson install" gave, for the time of the test."""
    t.need(os.path.exists(PACKAGE), "no package was built")
    names = installed_by_meson()
    t.check(any(n.endswith("/capd.service") for n in names), f"no unit among {names}")
    t.cleanup(restore, t)
    t.run("systemctl", "disable", "--now", "capd.service", check=0)
    for name in names:
        os.unlink(f"/{name}")
        if not os.listdir(os.path.dirname(f"/{name}")):
            os.removedirs(os.path.dirname(f"/{name}"))
    t.run("systemctl", "daemon-reload", check=0)
    t.run("rm", "-rf", "/run/capd", "/var/lib/capd", check=0)  # the service keeps the one, empty, and has its history in the other
    t.equal(files_of_capd(), [], "left of what meson installed")


def install(t):
    without_meson(t)
    dpkg(t, "-i", PACKAGE)
    t.wait(answers, "capd.service to answer")


def answers():
    return subprocess.run(["/usr/bin/capctl", "status"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


def next_version(t, change=None):
    """The same package with a higher version, and with a change to its tree if there is one. Its path and version."""
    tree, path = f"{t.tmp}/tree", f"{t.tmp}/next.deb"
    t.run("dpkg-deb", "-R", PACKAGE, tree, check=0)
    control = read(f"{tree}/DEBIAN/control")
    now = re.search(r"^Version: (.*)$", control, re.M)[1] + "+next"
    with open(f"{tree}/DEBIAN/control", "w", encoding="utf-8") as f:
        f.write(re.sub(r"^Version: .*$", f"Version: {now}", control, flags=re.M))
    if change:
        change(tree)
    t.run("dpkg-deb", "-Znone", "--root-owner-group", "-b", tree, path, check=0)
    t.run("rm", "-rf", tree, check=0)
    return path, now


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def test_install_upgrade_purge(t):
    """A service that is enabled, runs and holds nobody; a first group; an upgrade with nothing changed by anybody; the end.

    A service that was disabled stays so.
    """
    install(t)
    t.check(version(t).startswith("installed "), f"the package is {version(t)}")
    t.run(f"{FOLDER}/package-tests/installed", timeout=240, check=0)
    t.check(re.search(r"^capd:", read("/etc/passwd"), re.M), "no user capd was made")
    t.equal([os.stat(f"/proc/{p}").st_uid for p in children(t.capd.pid())], [t.uid("capd")], "users of the front")
    # The bus and the journal have been told by triggers of their own packages.
    t.wait(lambda: t.run("busctl", "status", "org.capd1").returncode == 0, "org.capd1 on the bus")
    t.check(in_catalog(t), "nothing of capd in the catalog of messages")

    t.run("systemctl", "disable", "--now", "capd.service", check=0)
    example = "# The example of the next version.\n"
    package, _ = next_version(t, lambda tree: write(f"{tree}/etc/capd.conf", example))
    dpkg(t, "-i", package)
    t.equal(read(CONFIG), example, "the configuration after the upgrade")
    t.equal(t.run("systemctl", "is-enabled", "capd.service").stdout.strip(), "disabled", "the service")
    t.equal(t.capd.active(), "inactive", "the service")

    dpkg(t, "--purge", "capd")
    t.equal(files_of_capd(), [], "left after a purge")
    t.check(not in_catalog(t), "capd is still in the catalog of messages")
    t.check(re.search(r"^capd:", read("/etc/passwd"), re.M), "the user capd is gone, and its number free for somebody else")


test_install_upgrade_purge.limit = LIMIT


def test_administrators_files(t):
    """An upgrade runs the new daemon on the administrator's configuration, a removal keeps that, a purge does not."""
    install(t)
    mine = "[Group mine]\nUid=0\nAction=observe\n"
    write(CONFIG, mine)
    write(DROPIN, "[Group dropped-in]\nUid=0\nAction=observe\n")
    t.run("systemctl", "reload", "capd.service", check=0)
    before = t.capd.pid()

    package, now = next_version(t, lambda tree: write(f"{tree}/etc/capd.conf", "# The example of the next version.\n"))
    dpkg(t, "-i", package)
    t.equal(version(t), f"installed {now}", "package")
    t.wait(answers, "capd.service to answer")
    t.check(t.capd.pid() not in (0, before), f"the service was not restarted: main process {before}, then {t.capd.pid()}")
    t.equal(read(CONFIG), mine, "the configuration after the upgrade")
    groups = t.run("/usr/bin/capctl", "status", "-nro", "GROUP", check=0).stdout.split()
    t.equal(sorted(groups), ["dropped-in", "mine"], "groups after the upgrade")

    dpkg(t, "--remove", "capd")
    t.equal(t.capd.active(), "inactive", "the service after the removal")
    kept = [f for f in files_of_capd() if not f.startswith(("/etc/", "/var/lib/"))]
    t.equal(kept, [], "left after the removal")
    t.equal(read(CONFIG), mine, "the configuration after the removal")

    dpkg(t, "--purge", "capd")
    t.equal(files_of_capd(), [os.path.dirname(DROPIN)], "left after the purge")
    t.check(os.path.exists(DROPIN), f"{DROPIN}, which the administrator made, is gone")


test_administrators_files.limit = LIMIT
