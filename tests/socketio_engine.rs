//! Engine.IO spoken directly, by its own clients and by hand, works in every framing of the protocol: EIO=4, EIO=3
//! with base64, with binary framing and with the all-binary framing of engine.io 1, JSONP, with preflights, compressed.
//!
//! Fails with 400 `Session ID unknown` if the sid is not learned from one of these forms of the handshake, or not
//! found where a request carries it; `aborted_poll` fails if a client's abort does not reach the backend at once.
#![forbid(unsafe_code)]

ringbolt_harness::scenarios! {
    engine1: EngineIo1, Node2, 60 => engine_polling engine_upgrade engine_websocket;
    engine3: EngineIo3, Node2, 60 => engine_polling engine_upgrade engine_websocket;
    engine6: EngineIo6, Node4, 60 => engine_polling engine_upgrade engine_websocket;
    engine6_eio3: EngineIo6, Node2, 60 => engine_polling engine_upgrade engine_websocket;
    socketio2: SocketIo2, Node2, 60 =>
        jsonp eio3_framing cors sid_positions compressed cookie held_poll disconnect aborted_poll unknown_sid;
    socketio3: SocketIo3, Node3, 60 =>
        jsonp eio3_framing cors sid_positions compressed cookie held_poll disconnect aborted_poll unknown_sid;
    socketio4: SocketIo4, Node4, 60 =>
        jsonp eio3_framing cors sid_positions compressed cookie held_poll disconnect aborted_poll unknown_sid;
    python: Python, Node4, 60 =>
        cors sid_positions compressed cookie held_poll disconnect unknown_sid;
}
