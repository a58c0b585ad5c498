# SPDX-License-Identifier: MIT
"""The configuration for a login node that is installed as an example, on a host where people are logged in."""
import glob

from harness import MIB, meminfo, read, rollup
from scenario import figures, mib

EXAMPLE = "share/doc/capd/examples/login-node.conf"


def held(processes):
    """What these private processes hold, by the kernel's own walks."""
    return sum(rollup(pid)["Anonymous"] for process in processes for pid in process.pids)


def test_example(t):
    """Three people and a system service: the one over her share is brought under it, and nobody else loses a page."""
    paths = glob.glob(f"/usr/{EXAMPLE}") + glob.glob(f"/usr/local/{EXAMPLE}")
    t.equal(len(paths), 1, "installed examples")
    cap = meminfo()["MemTotal"] * 15 // 100
    size = cap // MIB
    t.zram(1024)
    # Two programs that are below her share one by one, and not together, one in a session and one that she left running;
    # they go on with the first 8 MiB each.
    t.user_manager("alice")
    hog = [t.session_workload("alice", "writer", size * 7 // 10, 8, 0),
           t.unit_workload("writer", size * 7 // 10, 8, 0, user="alice")[0]]
    others = {"bob": t.session_workload("bob", "writer", size // 2, 0, 0)}
    t.user_manager("carol")
    others["carol"], _ = t.unit_workload("writer", size // 4, 0, 0, user="carol")
    # A system user over what a user may have.
    others["nobody"], _ = t.unit_workload("writer", size + 40, 0, 0, User="nobody")
    before = {name: held([process]) for name, process in others.items()}
    t.check(held(hog) > cap * 5 // 4, f"alice holds {held(hog)}, with a cap of {cap}")
    t.check(before["nobody"] > cap, f"the system service holds {before['nobody']}")

    capd = t.service(read(paths[0]))
    t.wait(lambda: held(hog) <= cap, "alice to come under her cap", 150, step=1)
    said = capd.groups()
    t.equal(sorted(said), ["everybody", "users/alice", "users/bob", "users/carol"], "groups")
    alice = capd.wait_state("users/alice", "ok")
    t.check(abs(alice["cap"] - cap) < MIB, f"alice has a cap of {alice['cap']}, not {cap}")
    t.check(alice["resident"] <= alice["cap"], f"alice holds {alice['resident']}")
    for name, process in others.items():
        now = rollup(process.pids[0])
        t.equal((now["Swap"], held([process])), (0, before[name]), f"swapped and held by {name}")
        t.equal(process.ask("verify", timeout=300)["bad"], 0, f"bad pages of {name}")
    for name in ("bob", "carol"):
        t.equal(figures(capd, f"users/{name}", "ACTS")["acts"], 0, f"acts on {name}")
    for process in hog:
        t.equal(process.ask("verify", timeout=300)["bad"], 0, "bad pages of alice")
    t.note(f"alice: {mib(alice['resident'])} MiB of {mib(cap)}, by {figures(capd, 'users/alice', 'STRATEGY')['strategy']}; "
           f"bob {mib(before['bob'])}, carol {mib(before['carol'])}, the system service {mib(before['nobody'])} MiB as before")


test_example.limit = 420
