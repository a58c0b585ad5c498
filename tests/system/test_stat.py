# SPDX-License-Identifier: MIT
"""capctl stat: what was attempted and what was paged out, in the interval and per act."""
import json
import os
import subprocess

import harness
from harness import MIB, vm

HEADINGS = ["ID", "GROUP", "NPROC", "VM", "RSS", "CAP", "AT", "AVGAT", "PG", "AVGPG"]


def test_counters_and_intervals(t):
    """The first report tells of all acts, the next of the time since: nothing."""
    exe = t.executable_copy("reading")
    # Clean pages of a file: they go without any swap.
    p = t.workload("reader", f"{t.tmp}/file", 96, executable=exe)
    t.check(vm(p.pid)["RssFile"] > 90 * MIB, "the file is mapped")
    d = t.daemon(f"[Daemon]\nSampleInterval=1s\nCPUBudget=50%\n[Group g]\nExe={exe}\nCap=48M\n[Group idle]\nComm=nobody-has-it\nCap=1G\n")
    d.wait_group("g", lambda g: g["state"] == "ok" and g["resident"] and g["resident"] <= 48 * MIB, "the file pages to go")
    lines = d.ctl("stat").stdout.splitlines()
    t.equal(lines[0].split(), HEADINGS, "headings")
    t.equal([line.split()[1] for line in lines[1:]], ["g", "idle"], "groups")
    rows = {r["group"]: r for r in json.loads(d.ctl("stat", "-J").stdout)["groups"]}
    acts = json.loads(d.ctl("status", "-J", "-o", "NAME,ACTS,ATTEMPTED,UNMAPPED,VSZ-SUM").stdout)["groups"][0]
    g = rows["g"]
    t.equal(sorted(g), sorted(h.lower() for h in HEADINGS), "keys")
    t.equal(g["at"], acts["attempted_total"], "attempted since the beginning")
    t.equal(g["pg"], acts["unmapped_total"], "paged out since the beginning")
    t.check(g["pg"] >= 40 * MIB, f"what the test has seen go: {g}")
    t.equal(g["avgat"], acts["attempted_total"] // acts["acts"], "attempted per act")
    t.equal(g["avgpg"], acts["unmapped_total"] // acts["acts"], "paged out per act")
    t.equal(g["vm"], acts["vm_sum"], "size of the address space")
    t.equal(g["nproc"], 1, "processes")
    t.equal((rows["idle"]["at"], rows["idle"]["pg"], rows["idle"]["avgat"]), (0, 0, 0), "a group that was left alone")
    t.check(g["id"] != rows["idle"]["id"] and min(g["id"], rows["idle"]["id"]) >= 1, f"numbers: {rows}")
    reports = [json.loads(text + "}")["groups"] for text in d.ctl("stat", "-J", "0.2", "2").stdout.split("\n}\n")[:2]]
    first, second = ({r["group"]: r for r in report} for report in reports)
    t.check(first["g"]["at"] >= g["at"], f"the first of two: {first}")
    t.check(second["g"]["at"] < first["g"]["at"], f"the second of two is of the time since: {second}")
    t.check(second["g"]["avgat"] > 0, f"per act, ever: {second}")


def test_host(t):
    d = t.daemon("[Daemon]\nPressureThreshold=30%\n[Group a]\nComm=nobody-has-it\nCap=1G\n")
    lines = d.ctl("stat", "-g", "0.1", "3").stdout.splitlines()
    t.equal(len(lines), 9, f"three reports of three lines: {lines}")
    for line in lines[2::3]:
        t.check(line.startswith("host memory in use: ") and line.endswith("caps bite above: 30%"), f"the host: {line!r}")


def test_usage_and_no_daemon(t):
    t.equal(t.run(harness.CAPCTL, "--runtime-directory", f"{t.tmp}/none", "stat", "1").returncode, 3, "without a daemon")
    d = t.daemon("[Group a]\nComm=nobody-has-it\nCap=1G\n")
    for words in (["soon"], ["0"], ["1", "0"], ["1", "x"], ["1", "2", "3"]):
        done = d.ctl("stat", *words, check=2)
        t.check(done.stderr.startswith("capctl: "), f"stat {words}: {done.stderr!r}")
    # who reads has gone: no endless loop
    reader, writer = os.pipe()
    os.close(reader)
    child = subprocess.Popen([harness.CAPCTL, "--runtime-directory", d.runtime, "stat", "0.1"], stdout=writer, stderr=subprocess.DEVNULL)
    os.close(writer)
    t.cleanup(lambda: child.poll() is not None or child.kill())
    t.check(child.wait(60 * harness.SLOW) != 0, "a pipe that nobody reads")
