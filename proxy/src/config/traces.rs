//! `[traces]`: where spans of requests and tunnels are exported to.

use std::net::SocketAddr;

use super::bounds::ACCESS_LOG_SAMPLE;
use super::section::{Section, integer, or_off, text};
use super::value;

/// `[traces]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traces {
    /// Where the collector takes OTLP over HTTP.
    pub(crate) collector: SocketAddr,
    /// Of traces that begin here one in so many is recorded.
    pub(crate) sample: u32,
}

/// Of requests without a trace. Enough to see something, too few to notice.
const SAMPLE: u32 = 100;

/// Reads the section. `None`: nothing is exported.
pub(super) fn traces(mut section: Section<'_>) -> Option<Traces> {
    let address = text(r#"an address such as "127.0.0.1:4318""#, value::backend_address);
    let collector = section.read("collector", or_off(address)).flatten();
    let sample = section.read("sample", integer(ACCESS_LOG_SAMPLE)).unwrap_or(SAMPLE);
    section.finish();
    collector.map(|collector| Traces { collector, sample })
}
