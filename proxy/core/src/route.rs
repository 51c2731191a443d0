//! Host and path to upstream.
