"""A quick HTTP function that only records: a line with the call's id and the time in $RECORD for each request.

It parses no more HTTP than the daemon sends. `?slow=SECONDS` makes it take its time.
"""

import os
import re
import socket
import threading
import time

CALL = re.compile(rb"\r\nx-call-id: *([^\r]*)", re.IGNORECASE)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
SLOW = re.compile(rb"\?slow=([\d.]+)")
FILE = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


def serve(connection):
    """One connection, request by request, until the other side goes."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = b""
    while True:
        while (end := data.find(b"\r\n\r\n")) < 0:
            if not (more := connection.recv(65536)):
                return
            data += more
        head, data = data[: end + 2], data[end + 4 :]
        length = int(found[1]) if (found := LENGTH.search(head)) else 0
        while len(data) < length:
            if not (more := connection.recv(65536)):
                return
            data += more
        body, data = data[:length], data[length:]
        os.write(FILE, b"%s %f %s\n" % (CALL.search(head)[1], time.time(), body[:64]))
        if slow := SLOW.search(head):
            time.sleep(float(slow[1]))
        connection.sendall(ANSWER)


def main():
    """Listen on $PORT."""
    listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=1024)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_quietly, args=(connection,), daemon=True).start()


def serve_quietly(connection):
    """A connection that breaks off concerns nobody else."""
    with connection:
        try:
            serve(connection)
        except OSError:
            return


if __name__ == "__main__":
    main()
