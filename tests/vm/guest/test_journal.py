# SPDX-License-Identifier: MIT
"""What capd tells the journal: fields for programs, and explanations for people."""
import re

from harness import MIB


def catalog_ids(t):
    """Ids by the subject of their entry in the catalog, as journalctl knows it."""
    done = t.run("journalctl", "--dump-catalog", check=0)
    found = {}
    for one in re.split(r"^-- ", done.stdout, flags=re.M):
        m = re.match(r"([0-9a-f-]{32,36})\nSubject: (.*)\nDefined-By: capd$", one, re.M)
        if m:
            found[m[2]] = m[1].replace("-", "")
    return found


def entries(capd, message_id):
    return [e for e in capd.journal() if e.get("MESSAGE_ID") == message_id]


def explained(t, message_id):
    """What journalctl -x shows of the entries with this id."""
    return t.run("journalctl", "-q", "-x", "-b", f"MESSAGE_ID={message_id}", check=0).stdout


def test_states_and_acts(t):
    """A group that is brought under its cap: each change of state and each act with figures, and an explanation."""
    t.zram(256)
    p, unit = t.unit_workload("member", 60)
    ids = catalog_ids(t)
    t.check(len(ids) >= 20, f"capd's entries in the catalog: {sorted(ids)}")
    capd = t.service(f"[Daemon]\nSampleInterval=1s\n[Group u]\nUnit={unit.name}\nCap=30M\nProcessFloor=0\n")
    capd.wait_group("u", lambda g: g["state"] == "ok" and g["quality"] == "exact" and g["resident"] <= 30 * MIB, "the group to be under its cap")
    act_id = ids["Memory of group @CAPD_GROUP@ was paged out"]
    acts = t.wait(lambda: entries(capd, act_id), "an act in the journal")
    act = acts[0]
    # on a slow machine the time of an act is over before all is done, and the next one goes on
    unmapped, attempted = (sum(int(e[f"CAPD_{what}_BYTES"]) for e in acts) for what in ("UNMAPPED", "ATTEMPTED"))
    t.check(25 * MIB <= unmapped <= attempted, f"figures of the acts: {acts}")
    t.equal((act["CAPD_GROUP"], act["CAPD_STRATEGY"], act["CAPD_CAP_BYTES"], act["PRIORITY"]), ("u", "process_madvise", str(30 * MIB), "6"), "fields")
    t.check("CAPD_FREED_BYTES" in act and "CAPD_DURATION_USEC" in act, f"figures of the act: {act}")
    enforcing = entries(capd, ids["Group @CAPD_GROUP@ is being brought under its cap"])
    t.check(enforcing, "no change to enforcing in the journal")
    t.equal((enforcing[0]["CAPD_STATE"], enforcing[0]["CAPD_PROCESSES"]), ("enforcing", "1"), "fields")
    t.check(int(enforcing[0]["CAPD_RESIDENT_BYTES"]) >= 60 * MIB, f"resident: {enforcing[0]}")
    t.equal(enforcing[0]["SYSLOG_IDENTIFIER"], "capd", "identifier")
    ok = entries(capd, ids["Group @CAPD_GROUP@ is under its cap"])
    t.equal(ok[-1]["CAPD_OLD_STATE"], "enforcing", "the state before")
    shown = explained(t, act_id)
    t.check("It tried to page out\n" in re.sub(r"^░░ ?", "", shown, flags=re.M) and "Memory of group u was paged out" in shown, shown[-1500:])
    t.check("Group u is being brought under its cap" in explained(t, enforcing[0]["MESSAGE_ID"]), "the state is explained")


def test_requests_and_reloads(t):
    """Who asked for what, what was refused, and what is wrong with a configuration."""
    ids = catalog_ids(t)
    config = "[Group u]\nComm=nosuchprogram\nCap=1G\nAction=observe\n"
    capd = t.service(config)
    capd.ctl("pause", "u", check=0)
    t.equal(capd.ctl("enforce", "u", check=1).returncode, 1, "enforce of a paused group")
    request = ids["Somebody has told capd to do something"]
    asked = entries(capd, request)
    t.equal([(e["CAPD_GROUP"], e["CAPD_UID"], e["CAPD_STATE"]) for e in asked], [("u", "0", "paused")], "requests")
    t.check(asked[0]["CAPD_PID"].isdigit(), "process")
    refused = entries(capd, ids["capd has refused a request"])
    t.equal([e["CAPD_UID"] for e in refused], ["0"], "refusals")
    t.check("paused" in refused[0]["MESSAGE"], refused[0]["MESSAGE"])
    t.check("User 0, process" in explained(t, request), "who asked is explained")
    capd.configure(config + "Nonsense=1\n")
    t.equal(capd.ctl("reload", check=1).returncode, 1, "reload of nonsense")
    failed = entries(capd, ids["The configuration of capd was not accepted"])
    t.equal(len(failed), 1, "failed reloads")
    t.check("Nonsense" in failed[0]["CAPD_PROBLEMS"] and failed[0]["PRIORITY"] == "3", failed[0])
    t.check("/etc/capd.conf:5" in explained(t, failed[0]["MESSAGE_ID"]), "the mistake is explained")
    capd.configure(config)
    capd.ctl("reload", check=0)
    t.equal(len(entries(capd, ids["The configuration of capd was read again"])), 1, "reloads")


def test_rate_limit(t):
    """A group has so many entries of a kind; how many more there were is told."""
    ids = catalog_ids(t)
    capd = t.service("[Group u]\nComm=nosuchprogram\nCap=1G\nAction=observe\n[Group v]\nComm=nosuchprogram\nCap=1G\nAction=observe\n")
    for i in range(30):
        capd.ctl("cap", "u", f"{100 + i}M", check=0)
    capd.ctl("cap", "v", "100M", check=0)
    capd.stop()
    request = entries(capd, ids["Somebody has told capd to do something"])
    of_u = [e for e in request if e["CAPD_GROUP"] == "u"]
    told = [e for e in entries(capd, ids["Entries of capd were suppressed"]) if e.get("CAPD_GROUP") == "u"]
    suppressed = sum(int(e["CAPD_SUPPRESSED"]) for e in told)
    t.note(f"{len(of_u)} logged, {suppressed} suppressed")
    # more than one minute may go by under emulation
    t.equal(len(of_u) + suppressed, 30, "logged and suppressed")
    t.check(len(of_u) >= 20 and (suppressed > 0 or len(of_u) == 30), "the limit")
    t.equal(len([e for e in request if e["CAPD_GROUP"] == "v"]), 1, "of the other group")


def test_standard_error(t):
    """Where standard error is not the journal, that is where the lines go."""
    d = t.daemon("[Group u]\nComm=nosuchprogram\nCap=1G\nAction=observe\n")
    d.ctl("pause", "u", check=0)
    t.check("capd: Group u: paused by uid 0" in d.log(), d.log())
