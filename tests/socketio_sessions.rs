//! Unmodified clients of socket.io 2, 3, 4 and python-socketio reach unmodified servers on three backends, and every
//! session works: polling, upgrade, WebSocket, bytes, megabytes, compression, namespaces, any path.
//!
//! Fails with 400 `Session ID unknown` from the wrong backend if requests of one session are spread, and with lost,
//! doubled or reordered messages if the upgrade, a body or a frame is not passed on as it came.
#![forbid(unsafe_code)]

ringbolt_harness::scenarios! {
    socketio2: SocketIo2, Node2, 60 =>
        polling upgrade websocket binary large deflate custom_path namespaces rooms many_connections server_event;
    socketio3: SocketIo3, Node3, 60 =>
        polling upgrade websocket binary large deflate custom_path namespaces rooms many_connections server_event;
    socketio4: SocketIo4, Node4, 60 =>
        polling upgrade websocket binary large deflate custom_path namespaces rooms many_connections server_event;
    client2_on_server3: SocketIo3, Node2, 60 => polling upgrade binary namespaces;
    client2_on_server4: SocketIo4, Node2, 60 => polling upgrade binary namespaces;
    client4_on_python: Python, Node4, 60 =>
        polling upgrade websocket binary large deflate custom_path namespaces rooms many_connections server_event;
    python_on_python: Python, Python, 60 => polling upgrade websocket;
    python_on_server4: SocketIo4, Python, 60 => polling upgrade websocket;
}
