# SPDX-License-Identifier: MIT
"""Runs the functions test_NAME(t) of the files test_TOPIC.py in a directory and prints TAP.

A test has a time limit as a whole: 240 seconds, or its attribute `limit`. What it left behind fails it.
"""
import importlib.util
import os
import signal
import sys
import time
import traceback

import harness

LIMIT = 240


def on_alarm(number, frame):
    raise TimeoutError("the test took too long as a whole")


def on_term(number, frame):
    raise KeyboardInterrupt


def collect(directory, patterns=(), prefix=""):
    """The tests in a directory whose full name, prefix + TOPIC.NAME, contains one of the patterns."""
    if directory not in sys.path:
        sys.path.insert(0, directory)
    tests = []
    for file in sorted(os.listdir(directory)):
        if file.startswith("test_") and file.endswith(".py"):
            # Two directories may have files of one name.
            specification = importlib.util.spec_from_file_location(f"{prefix}{file[:-3]}", os.path.join(directory, file))
            module = importlib.util.module_from_spec(specification)
            specification.loader.exec_module(module)
            tests += [(f"{prefix}{file[5:-3]}.{name[5:]}", function) for name, function in vars(module).items()
                      if name.startswith("test_") and callable(function)]
    return [(n, f) for n, f in tests if not patterns or any(p in n for p in patterns)]


def run(tests, make_test=harness.Test, announce=False, excluded=None, out=sys.stdout):
    """Runs (name, function) pairs, each with a make_test(name). The number of failed ones, None if interrupted.

    With `announce`, a comment before each test says how long it may take, for whoever watches over this process.
    `excluded` tells, for a name, the reason why that test is not run here, or None.
    """
    harness.become_reaper()
    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGHUP, on_term)
    print(f"1..{len(tests)}", file=out, flush=True)
    failed = 0
    for number, (name, function) in enumerate(tests, 1):
        reason = excluded(name) if excluded else None
        if reason:
            print(f"ok {number} - {name} # SKIP {reason}", file=out, flush=True)
            continue
        limit = int(getattr(function, "limit", LIMIT) * harness.SLOW)
        if announce:
            print(f"# running {limit} {name}", file=out, flush=True)
        mounts = harness.read("/proc/self/mounts").splitlines()
        test = make_test(name)
        outcome, text, evidence, interrupted = "ok", [], [], False
        began = time.monotonic()
        signal.alarm(limit)
        try:
            function(test)
        except harness.Skip as e:
            outcome = f"skip {e}"
        except KeyboardInterrupt:
            outcome, text, interrupted = "not ok", ["interrupted"], True
        except harness.Failure as e:
            outcome, text = "not ok", [str(e), *where(e)]
        except Exception:
            outcome, text = "not ok", traceback.format_exc().splitlines()
        signal.alarm(0)
        if outcome == "not ok":
            evidence = evidence_of(test)
        problems = test.undo() + [f"left behind: {x}" for x in test.leftovers(mounts)]
        if problems:
            outcome = "not ok"
            text += problems
        failed += outcome == "not ok"
        seconds = time.monotonic() - began
        if outcome.startswith("skip"):
            print(f"ok {number} - {name} # SKIP {outcome[5:]}", file=out)
        else:
            print(f"{outcome} {number} - {name} ({seconds:.1f} s)", file=out)
        # why it failed comes first, as not all may be kept
        for line in [*text, *test.notes, *evidence]:
            for part in str(line).splitlines():
                print(f"  # {printable(part)}", file=out)
        out.flush()
        if interrupted:
            print("Bail out! interrupted", file=out, flush=True)
            return None
    return failed


def evidence_of(test):
    try:
        return test.evidence()
    except Exception as e:  # the result must be told, and the rest undone
        return [f"no evidence: {e!r}"]


def where(error):
    """The line of the test file at which it gave up."""
    lines = [f for f in traceback.extract_tb(error.__traceback__) if os.path.basename(f.filename).startswith("test_")]
    return [f"at {os.path.basename(f.filename)}:{f.lineno}: {f.line}" for f in lines[-1:]]


def printable(text):
    """Hostile text is part of what is tested; it stays out of the terminal."""
    return text.encode("ascii", "backslashreplace").decode().translate({c: f"\\x{c:02x}" for c in [*range(32), 127]})
