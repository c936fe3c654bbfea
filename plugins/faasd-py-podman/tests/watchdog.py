"""A classic watchdog in nothing but the standard library (OpenFaaS wire contract §4.4): $fprocess runs for each request.

Its words are split at blanks. The body is its input, what it writes is the answer, its complaints go to the log; 500 when
it fails. A program that is not there ends the watchdog at once.
"""

import os
import shutil
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = os.environ.get("fprocess", "cat").split()  # noqa: SIM112 - its name


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        done = subprocess.run(WORDS, input=body, stdout=subprocess.PIPE, check=False)
        self.send_response(500 if done.returncode else 200)
        self.send_header("Content-Length", str(len(done.stdout)))
        self.end_headers()
        self.wfile.write(done.stdout)

    def log_message(self, *args):
        pass

    def address_string(self):
        return "peer"


if shutil.which(WORDS[0]) is None:
    sys.exit(f"there is no {WORDS[0]}")
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
