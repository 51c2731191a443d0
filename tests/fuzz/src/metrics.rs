//! What a tunnel counts, in the daemon's own cells.

#[path = "../../../proxy/src/metrics/cell.rs"]
pub(crate) mod cell;
#[path = "../../../proxy/src/metrics/histogram.rs"]
mod histogram;
#[path = "../../../proxy/src/metrics/label.rs"]
pub(crate) mod label;
#[path = "../../../proxy/src/metrics/names.rs"]
pub(crate) mod names;

use self::cell::{Counter, Gauge, PerLabel};
use self::histogram::{Histogram, Lives};
use self::label::{Direction, DrainedBy, TlsRecords, TunnelEnd};

#[derive(Debug, Default)]
pub(crate) struct TunnelCounters {
    pub(crate) tunnels: Counter,
    pub(crate) tunnels_active: Gauge,
    pub(crate) tunnels_closed: PerLabel<TunnelEnd>,
    pub(crate) tunnels_drained: PerLabel<DrainedBy>,
    pub(crate) tunnel_durations: Histogram<Lives>,
    pub(crate) tunnel_bytes: PerLabel<Direction>,
    pub(crate) tunnel_spliced_bytes: PerLabel<Direction>,
    pub(crate) tls_tunnels: PerLabel<TlsRecords>,
    pub(crate) tunnel_chats: Counter,
    pub(crate) tunnel_chats_active: Gauge,
}
