"""Inside a computer of the tests: reads a line of JSON from a serial line, does it, and answers with one."""

import base64
import http.client
import json
import os
import subprocess
import sys
import termios
import tty
from pathlib import Path


def run(words, timeout):
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        check=False,
    )
    return {"status": done.returncode, "said": done.stdout.decode(errors="replace")}


def write(path, text, mode):
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    target.chmod(mode)
    return {}


def ask(port, method, target, headers, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request(method, target, base64.b64decode(body), headers)
    answer = connection.getresponse()
    told = {"status": answer.status, "headers": answer.getheaders()}
    return told | {"body": base64.b64encode(answer.read()).decode()}


def act(told):
    if "run" in told:
        return run(told["run"], told["timeout"])
    if "write" in told:
        return write(told["write"], told["text"], told["mode"])
    if "ask" in told:
        return ask(told["ask"], told["method"], told["target"], told["headers"], told["body"])
    return {"error": "that is not known here"}


def say(told):
    left = json.dumps(told).encode() + b"\n"
    while left:
        left = left[os.write(line, left) :]


line = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
tty.setraw(line)
termios.tcflush(line, termios.TCIOFLUSH)
say({"up": True})
with open(line, "rb", closefd=False) as source:
    for words in source:
        try:
            answer = act(json.loads(words))
        except Exception as error:  # noqa: BLE001 - it is told
            answer = {"error": f"{type(error).__name__}: {error}"}
        say(answer)
