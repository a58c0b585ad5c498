# SPDX-License-Identifier: MIT
"""What the service keeps in files: the history in its state directory, and metrics where node_exporter looks."""
import json
import os
import shutil

import guest  # noqa: F401 (the path to harness)
from harness import MIB, read
from test_service import drop_in, warnings

STATE = "/var/lib/capd"
NODE_EXPORTER = "/var/lib/prometheus/node-exporter"
CONFIG = "[Daemon]\nSampleInterval=1s\nMetricsFile={}\n[Group u]\nUnit={}\nCap=1G\nAction=observe\n"


def history(capd):
    return json.loads(capd.ctl("history", "u", "-J").stdout)["history"]


def test_history(t):
    """It is there again after the service was restarted."""
    t.cleanup(shutil.rmtree, STATE, True)
    _, unit = t.unit_workload("member", 30)
    capd = t.service(CONFIG.format("", unit.name))
    capd.wait_group("u", lambda g: g["quality"] == "exact", "an exact count")
    before = history(capd)
    capd.stop()
    t.equal(sorted(os.listdir(STATE)), ["history"], "files of the state directory")
    capd.start()
    capd.wait_group("u", lambda g: g["quality"] == "exact", "an exact count")
    after = history(capd)
    t.near(after[0]["time_usec"], before[0]["time_usec"], 60e6, "the first point")
    t.check(any(r["resident"] >= 30 * MIB for r in after), f"what was resident: {after}")
    t.equal(warnings(capd), [], "warnings in the journal")


def test_metrics(t):
    """Debian's directory is open to the service, any other after a drop-in; who owns it does not matter."""
    t.cleanup(shutil.rmtree, STATE, True)
    t.cleanup(shutil.rmtree, os.path.dirname(NODE_EXPORTER), True)
    t.cleanup(shutil.rmtree, "/srv/metrics", True)
    for path in (NODE_EXPORTER, "/srv/metrics"):
        os.makedirs(path)
        os.chown(path, t.uid("nobody"), -1)
    _, unit = t.unit_workload("member", 30)
    path = f"{NODE_EXPORTER}/capd.prom"
    capd = t.service(CONFIG.format(path, unit.name))
    t.wait(lambda: "capd_group_resident_bytes" in read(path, ""), "the file")
    st = os.stat(path)
    t.equal((st.st_mode & 0o777, st.st_uid), (0o644, 0), "mode and owner")
    t.equal(warnings(capd), [], "warnings in the journal")
    capd.reload(CONFIG.format("/srv/metrics/capd.prom", unit.name))
    t.wait(lambda: any("ReadWritePaths=" in w for w in warnings(capd)), "the log to say what is missing")
    t.wait(lambda: not os.path.exists(path), "the file of the old configuration to be gone")
    capd.stop()
    drop_in(t, "[Service]\nReadWritePaths=/srv/metrics\n")
    capd.start()
    t.wait(lambda: os.path.exists("/srv/metrics/capd.prom"), "the file")
    capd.stop()
    t.equal(os.listdir("/srv/metrics"), [], "files after the end")
