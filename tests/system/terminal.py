# SPDX-License-Identifier: MIT
"""A real terminal for tests: what is typed into it, and what it then shows."""
import re

import harness


class Terminal:
    """A pane of a tmux server that nobody else uses, in which a shell runs."""

    def __init__(self, t, width=80, height=24, shell="sh"):
        found = t.run("sh", "-c", "command -v tmux")
        t.need(found.returncode == 0, "tmux is not installed")
        self.t = t
        self.socket = f"{t.tmp}/tmux"
        t.cleanup(self.end)
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", width, "-y", height,
                  f"env PS1='$ ' LC_ALL=C.UTF-8 {shell}")
        self.server = int(self.tmux("display-message", "-p", "#{pid}").stdout)

    def end(self):
        self.t.run("tmux", "-S", self.socket, "kill-server")

    def tmux(self, *arguments):
        return self.t.run("tmux", "-S", self.socket, *map(str, arguments), check=0)

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def run(self, command):
        self.type(command)
        self.keys("Enter")

    def screen(self):
        return self.tmux("capture-pane", "-p").stdout

    def until(self, condition, what):
        """Waits for a screen of which condition(screen) holds; that screen. What is looked at later may be half drawn."""
        seen = [""]

        def look():
            seen[0] = self.screen()
            return seen[0] if condition(seen[0]) else None
        try:
            return self.t.wait(look, what)
        except harness.Failure as e:
            raise harness.Failure(f"{e}; it shows:\n{seen[0]}") from None

    def shows(self, *patterns, without=None, what=None):
        """Waits for a screen with each of these regular expressions in it, and without that text; the screen."""
        return self.until(lambda screen: all(re.search(p, screen, re.M) for p in patterns) and not (without and without in screen),
                          what or "the screen to show " + " and ".join(map(repr, patterns)) + (f" without {without!r}" if without else ""))

    def child(self, name):
        """The process of this name below the shell."""
        shell = int(self.tmux("display-message", "-p", "#{pane_pid}").stdout)
        return next((p for p in harness.children(shell) if harness.read(f"/proc/{p}/comm", "").strip() == name), None)
