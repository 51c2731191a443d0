"""What h11, a parser that shares no line with ours or with hyper, makes of bytes.

Each line of the standard input is an object with `kind` ("requests", or the method of the request that a response
answers) and `bytes` in hexadecimal; each line of the output says what was read: messages, and how it ended.
"""

import json
import sys

import h11

# More than any head of ours.
HEAD_BYTES_MAX = 1 << 20


def requests(data):
    """Requests of a connection, each answered at once, and "closed", "refused" or "broken"."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
    connection.receive_data(data)
    connection.receive_data(b"")
    read = []
    while True:
        body = b""
        try:
            request = connection.next_event()
        except h11.RemoteProtocolError:
            return read, "refused"
        if type(request) is not h11.Request:
            return read, "closed"
        try:
            while type(event := connection.next_event()) is h11.Data:
                body += event.data
        except h11.RemoteProtocolError:
            return read, "broken"
        if event is not h11.PAUSED and type(event) is not h11.EndOfMessage:
            return read, "broken"
        read.append({"method": request.method.hex(), "target": request.target.hex(), "body": body.hex()})
        if request.method == b"CONNECT":
            # Whatever follows is no HTTP.
            return read, "closed"
        connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return read, "closed"
        connection.start_next_cycle()


def response(data, method):
    """The final response in `data`, and "complete", "nohead" or "broken"."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    try:
        while type(head := connection.next_event()) is h11.InformationalResponse:
            pass
    except h11.RemoteProtocolError:
        return [], "nohead"
    if type(head) is not h11.Response:
        return [], "nohead"
    body = b""
    try:
        while type(event := connection.next_event()) is h11.Data:
            body += event.data
    except h11.RemoteProtocolError:
        return [], "broken"
    if type(event) is not h11.EndOfMessage:
        return [], "broken"
    return [{"status": head.status_code, "body": body.hex()}], "complete"


for line in sys.stdin:
    case = json.loads(line)
    data = bytes.fromhex(case["bytes"])
    read, end = requests(data) if case["kind"] == "requests" else response(data, case["kind"])
    print(json.dumps({"read": read, "end": end}))
