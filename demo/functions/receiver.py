#!/usr/bin/env python3
"""Print whose callback came, and how it begins: stderr is the function's log."""

import os
import sys

NAMES = ("Function_Name", "Call_Id", "Function_Status")

body = sys.stdin.buffer.read()
name, call, status = (os.environ.get(f"Http_X_{name}", "?") for name in NAMES)
sys.stderr.write(f"callback of {name}: call {call} ended with {status}: {body[:200]!r}\n")
sys.stdout.write("thank you\n")
