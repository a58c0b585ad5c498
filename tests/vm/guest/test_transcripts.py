# SPDX-License-Identifier: MIT
"""Transcripts of the documentation that need what only a whole system has; how they are judged is in tests/system/transcripts.py."""
import re

import transcripts
from test_programs import postgresql


def test_postgresql(t):
    """A cluster as Debian sets it up, with ten backends that have seen a table in its shared buffers, and no swap."""
    unit, _, _ = postgresql(t, 10)
    capd = t.service(f"[Daemon]\nSampleInterval=1s\n[Group postgres]\nDescription=Database cluster\nUnit={unit}\nCap=1G\n")
    capd.wait_group("postgres", lambda g: g["quality"] == "exact", "an exact count")
    session = transcripts.Session(t, capd)
    session.play("explain")
    capd.ctl("cap", "postgres", "64M")
    session.play("status-unenforceable", until=lambda text: re.search(r"^postgres +unenforceable +\d", text, re.M))
    session.end()


def test_bus(t):
    """The system bus, where the manual says "#" and "$": what polkit allows and what not."""
    t.unit_workload("member", 20, comm="webserver")
    capd = t.service(transcripts.BUS_CONFIG)
    t.wait(lambda: t.run("busctl", "status", "org.capd1").returncode == 0, "the name on the bus", 60)
    session = transcripts.Session(t, capd)
    session.play("busctl-polkit")
    transcripts.bus(session, capd)
    session.end()
