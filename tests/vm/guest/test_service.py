# SPDX-License-Identifier: MIT
"""capd.service as it is installed."""
from harness import MIB


def test_counts_a_unit(t):
    """A group by Unit= is what its processes hold."""
    process, unit = t.unit_workload("family", 40, 3)
    capd = t.service(f"[Group u]\nUnit={unit.name}\nCap=1G\nAction=observe\n")
    group = capd.wait_group("u", lambda g: g["quality"] == "exact", "an exact count")
    t.equal(group["processes"], len(process.pids), "processes")
    t.check(group["resident"] >= 40 * MIB, f"resident is {group['resident']}")
