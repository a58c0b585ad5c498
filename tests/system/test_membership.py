# SPDX-License-Identifier: MIT
"""Who belongs to which group, of processes whose attributes are not read while they do not run."""
import shutil
import subprocess


def test_idle_process_that_executes_another(t):
    """After many looks at which it had not run it executes another program, which is noticed at the next."""
    shell, after = f"{t.tmp}/shell", f"{t.tmp}/after"
    shutil.copy("/bin/sh", shell)
    shutil.copy(shutil.which("sleep"), after)
    idle = []
    for _ in range(6):
        p = subprocess.Popen([shell, "-c", f"read line; exec {after} 1000"], stdin=subprocess.PIPE)
        t.cleanup(p.stdin.close)
        t.cleanup(p.wait)
        t.cleanup(p.kill)
        idle.append(p)
    d = t.daemon("[Daemon]\nSampleInterval=100ms\nScanInterval=200ms\n"
                 f"[Group before]\nExe={shell}\nCap=100%\n[Group after]\nExe={after}\nCap=100%\n")

    def are(before, later):
        groups = d.groups()
        return (groups["before"]["processes"], groups["after"]["processes"]) == (before, later)
    t.wait(lambda: are(6, 0), "all to be idle shells")
    for i, p in enumerate(idle):
        first = d.tick()
        t.wait(lambda: d.tick() >= first + 10, "ten looks at idle processes")
        t.check(are(6 - i, i), f"somebody changed while nobody did anything: {d.groups()}")
        p.stdin.write(b"\n")
        p.stdin.flush()
        t.wait(lambda: are(5 - i, i + 1), "one more to have executed the other program")
