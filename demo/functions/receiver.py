"""Print whose callback came, and the first of what it brought: stderr is the function's log."""

import os
import sys

body = sys.stdin.buffer.read()
call, status = (os.environ.get(f"Http_X_{name}", "?") for name in ("Call_Id", "Function_Status"))
who = os.environ.get("Http_X_Function_Name", "somebody")
sys.stderr.write(
    f"callback of {who}: call {call} ended with {status}: {body[:200].decode(errors='replace')!r}\n"
)
sys.stdout.write("thank you\n")
