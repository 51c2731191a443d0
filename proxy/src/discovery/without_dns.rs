//! In place of `lookup.rs` in an executable that was built without the feature `dns`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringbolt_core::discovery::Found;
use tokio::sync::Semaphore;

use crate::config::{self, Place};

/// Asks nobody.
#[derive(Debug)]
pub(super) struct Lookup;

/// What there never is.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) found: BTreeMap<String, Found>,
    pub(super) ttl: Duration,
}

impl Lookup {
    pub(super) fn new(_: &config::Discovery, _: Arc<Semaphore>) -> Self {
        Self
    }

    #[expect(clippy::unused_async, reason = "as the one that asks")]
    pub(super) async fn ask(
        &self,
        _: &Place,
        _: impl Fn(&str) -> Option<SocketAddr>,
    ) -> Result<Answer, String> {
        Err("this executable was built without DNS (cargo's feature dns)".to_owned())
    }
}
