//! HTTP/1.1 messages: heads, framing, bodies.
