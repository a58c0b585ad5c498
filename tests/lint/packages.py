# SPDX-License-Identifier: MIT
"""The packages of etc/debian and etc/rpm, and the lists of what a build needs, against meson.build."""
import re

from source import files, text, version

# What meson calls a library → what it is in on Debian.
DEBIAN = {"libsystemd": "libsystemd-dev", "inih": "libinih-dev", "libcap": "libcap-dev", "smartcols": "libsmartcols-dev",
          "ncursesw": "libncurses-dev", "cmocka": "libcmocka-dev"}
LISTS = ("etc/debian/control", "tests/run", "etc/quickstart")


def check_versions(manuals):
    """Packages and manuals are of the version that meson.build names."""
    named = {"etc/debian/changelog": r"\Acapd \(([^)]+)\)", "etc/rpm/capd.spec": r"^Version:\s+(\S+)$", "NEWS.md": r"^## (\S+)",
             **{page: r'^\.TH \S+ \d "?[^"]*"? "capd ([0-9.]+)"' for page in manuals}}
    found = {path: re.search(pattern, text(path), re.M) for path, pattern in named.items()}
    return [f"{path}: {m[1] if m else 'no version'}, not {version()}" for path, m in found.items() if not m or m[1] != version()]


def check_dependencies():
    """What meson.build depends on is asked for by both packages, with the same least version, and by whoever builds."""
    wrong = []
    for path in files("meson.build"):
        for name, least in re.findall(r"= dependency\('(\w+)'(?:, version : '>= ([^']+)')?\)", text(path)):
            if name == "threads":
                continue
            if name not in DEBIAN:
                wrong.append(f"{path}: {name}: its Debian package is not known to tests/lint/packages.py")
                continue
            if not re.search(rf"^BuildRequires:\s+pkgconfig\({name}\)" + (f" >= {least}$" if least else "$"), text("etc/rpm/capd.spec"), re.M):
                wrong.append(f"etc/rpm/capd.spec: no pkgconfig({name}) {least}")
            for place in LISTS:
                # The quickstart builds no tests.
                if not (place == "etc/quickstart" and name == "cmocka") and DEBIAN[name] not in text(place):
                    wrong.append(f"{place}: no {DEBIAN[name]}")
            if least and f"{DEBIAN[name]} (>= {least})" not in text("etc/debian/control"):
                wrong.append(f"etc/debian/control: no {DEBIAN[name]} (>= {least})")
    return wrong
