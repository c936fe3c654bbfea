"""The function of the test image: an HTTP server that runs the Python it is sent, so that a test can look around inside.

The body is a program; what it leaves in `result` is the answer. It ends on TERM, and answers GET with `ok`.
"""

import os
import signal
import socket
import threading

signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"told to end\n"), os._exit(0)))


def run(program):
    scope = {}
    try:
        exec(program, scope)
    except BaseException as error:  # noqa: BLE001 - it is the answer
        return b"500 Internal Server Error", f"{type(error).__name__}: {error}".encode()
    return b"200 OK", str(scope.get("result", "")).encode()


def converse(sock):
    with sock, sock.makefile("rb") as source:
        while line := source.readline():
            length = 0
            while field := source.readline().strip():
                name, _, value = field.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            status, answer = (b"200 OK", b"ok") if line.startswith(b"GET") else run(source.read(length))
            sock.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(answer), answer))


listener = socket.create_server(("0.0.0.0", int(os.environ.get("PORT", "8080"))), backlog=256)
print("listening", flush=True)
while True:
    threading.Thread(target=converse, args=(listener.accept()[0],), daemon=True).start()
