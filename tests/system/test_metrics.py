# SPDX-License-Identifier: MIT
"""Metrics: what capd writes, promtool's opinion of it, and a Prometheus that scrapes a node_exporter that reads it."""
import json
import os
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from harness import MIB, read

CONFIG = "[Daemon]\nSampleInterval=1s\nCPUBudget=50%\n{}[Group me]\nComm=metricmember\nCap=1G\nAction=observe\n"


# By the interpreter that Debian's module belongs to, whichever runs this.
PARSE = """
import json, sys
try:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
except ImportError:
    sys.exit(3)
if sys.argv[1:] != ["try"]:
    print(json.dumps({f.name: [f.type, f.unit, f.documentation] for f in parse(sys.stdin.read())}))
"""


def started(t, daemon_lines="", mib=64):
    t.workload("member", mib, comm="metricmember", executable=t.executable_copy())
    d = t.daemon(CONFIG.format(daemon_lines))
    d.wait_group("me", lambda g: g["quality"] == "exact", "the group to be counted")
    return d


def directory(t):
    path = os.path.join(t.tmp, "textfile")
    os.mkdir(path, 0o755)
    return path


def values(text):
    """Series as they are written → value."""
    return {m[1]: float(m[2]) for m in re.finditer(r"^(\w+(?:{.*})?) (\S+)$", text, re.M)}


def test_metrics(t):
    d = started(t)
    text = d.ctl("metrics").stdout
    t.check(text.endswith("# EOF\n"), "OpenMetrics ends with EOF")
    got, group = values(text), d.group("me")
    t.equal(got['capd_group_resident_bytes{group="me"}'], group["resident"], "resident")
    t.equal(got['capd_group_cap_bytes{group="me"}'], 1 << 30, "cap")
    t.equal(got['capd_group_state{group="me",state="ok"}'], 1, "state")
    t.equal(sum(v for k, v in got.items() if k.startswith("capd_group_state{")), 1, "states that hold")
    t.check(not any(v > 1 << 62 for v in got.values()), "no figure that is not known")
    t.check("capd_group_working_set_bytes" not in text, "what is not known is left out")
    t.need(shutil.which("promtool"), "promtool is not installed: nobody to check the text")
    classic = d.ctl("metrics", "--classic").stdout
    done = subprocess.run(["promtool", "check", "metrics"], input=classic, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    t.equal((done.returncode, done.stdout), (0, ""), "promtool check metrics")
    t.equal(set(values(classic)), set(got), "the same series in both dialects")


def test_openmetrics(t):
    """The reference parser of the format, which is strict."""
    python = ["/usr/bin/python3", "-c", PARSE]
    t.need(os.path.exists(python[0]) and subprocess.run([*python, "try"], check=False).returncode == 0,
           "python3-prometheus-client is not installed")
    d = started(t)
    done = subprocess.run(python, input=d.ctl("metrics").stdout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    t.equal(done.returncode, 0, f"the parser: {done.stdout}")
    families = json.loads(done.stdout)
    t.equal(families["capd_group_resident_bytes"][:2], ["gauge", "bytes"], "type and unit")
    t.equal(families["capd_group_acts"][0], "counter", "type")
    t.check(all(help for _, _, help in families.values()), f"every family has its help: {families}")


def test_file(t):
    """It is replaced whole, readable for everybody, follows the configuration, and ends with capd."""
    folder = directory(t)
    path, other = os.path.join(folder, "capd.prom"), os.path.join(folder, "other.prom")
    d = started(t, f"MetricsFile={path}\n")
    t.wait(lambda: "capd_group_resident_bytes" in read(path, ""), "the file")
    t.equal(os.stat(path).st_mode & 0o777, 0o644, "mode")
    inode = os.stat(path).st_ino
    t.wait(lambda: os.stat(path).st_ino != inode, "the file to be replaced")
    t.check(values(read(path)), "the new one is whole")
    d.write_config(CONFIG.format(f"MetricsFile={other}\n"))
    d.ctl("reload")
    t.wait(lambda: os.path.exists(other), "the other file")
    # which may have been being written
    t.wait(lambda: not os.path.exists(path), "the old one to be gone")
    t.equal(d.stop(), 0, "exit status")
    t.equal(os.listdir(folder), [], "files that are left")


def test_links(t):
    """Who owns a directory on the way leads capd nowhere, and what is no file of its kind is left alone."""
    folder, victim = directory(t), os.path.join(t.tmp, "victim")
    os.mkdir(victim)
    os.symlink(victim, os.path.join(folder, "way"))
    d = started(t, f"MetricsFile={folder}/way/capd.prom\n", 8)
    t.wait(lambda: "a symbolic link" in d.log(), "the log to say so")
    t.equal(os.listdir(victim), [], "files behind the link")
    with open(os.path.join(victim, "precious"), "w", encoding="ascii") as f:
        f.write("mine")
    os.symlink(os.path.join(victim, "precious"), os.path.join(folder, "capd.prom"))
    d.write_config(CONFIG.format(f"MetricsFile={folder}/capd.prom\n"))
    d.ctl("reload")
    t.wait(lambda: "something else than a file" in d.log(), "the log to say so")
    os.unlink(os.path.join(folder, "capd.prom"))
    t.wait(lambda: os.path.isfile(os.path.join(folder, "capd.prom")), "the file, once nothing is in the way")
    t.wait(lambda: "is written again" in d.log(), "the log to say so")
    t.equal(read(os.path.join(victim, "precious")), "mine", "what the link led to")


def free_ports():
    """Two ports that nobody listens on."""
    with socket.socket() as one, socket.socket() as other:
        for s in (one, other):
            s.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()
    except (OSError, urllib.error.URLError):
        return ""


def server(t, name, *argv):
    log = open(os.path.join(t.tmp, name + ".log"), "wb")
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=t.tmp)

    def end():
        child.kill()
        child.wait()
        log.close()

    t.cleanup(end)
    return child


def test_prometheus(t):
    """From the page tables to a query: each step is the real program."""
    exporter = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    t.need(exporter and shutil.which("prometheus"), "prometheus or prometheus-node-exporter is not installed")
    folder, ports = directory(t), free_ports()
    d = started(t, f"MetricsFile={folder}/capd.prom\n")
    server(t, "exporter", exporter, "--collector.disable-defaults", "--collector.textfile",
           f"--collector.textfile.directory={folder}", f"--web.listen-address=127.0.0.1:{ports[0]}")
    text = t.wait(lambda: (lambda s: s if "capd_group_resident_bytes" in s else "")(get(f"http://127.0.0.1:{ports[0]}/metrics")),
                  "node_exporter to show the figures")
    t.check("node_textfile_scrape_error 0" in text, "node_exporter understands the file")
    t.check("# TYPE capd_group_paged_out_bytes_total counter" in text, "a counter stays one")
    config = os.path.join(t.tmp, "prometheus.yml")
    with open(config, "w", encoding="ascii") as f:
        f.write("global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: node\n  static_configs:\n"
                f"  - targets: ['127.0.0.1:{ports[0]}']\n")
    server(t, "prometheus", "prometheus", f"--config.file={config}", f"--storage.tsdb.path={t.tmp}/tsdb",
           f"--web.listen-address=127.0.0.1:{ports[1]}")

    def query(expression):
        answer = get(f"http://127.0.0.1:{ports[1]}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        return json.loads(answer)["data"]["result"] if answer else []

    result = t.wait(lambda: query('capd_group_resident_bytes{group="me"}'), "Prometheus to have the figure")
    t.near(int(result[0]["value"][1]), d.group("me")["resident"], MIB, "what Prometheus knows")
    t.check(int(result[0]["value"][1]) >= 64 * MIB, "and what was filled")
    t.equal(query('capd_group_resident_bytes{group="me"} > capd_group_cap_bytes'), [], "groups over their caps")

    def metadata():
        answer = get(f"http://127.0.0.1:{ports[1]}/api/v1/metadata?metric=capd_group_acts_total")
        return json.loads(answer)["data"].get("capd_group_acts_total") if answer else None
    t.equal(t.wait(metadata, "Prometheus to know the metric")[0]["type"], "counter", "type of a counter, as Prometheus knows it")
    t.equal(d.stop(), 0, "exit status")
    t.wait(lambda: "capd_" not in get(f"http://127.0.0.1:{ports[0]}/metrics"), "the figures to go with capd")
