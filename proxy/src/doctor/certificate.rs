//! Whether clients will believe the certificate of an `https` service.
//!
//! It is taken whatever it is and judged here, so that all it says can be told.

use std::path::Path;

use super::exchange::{Failure, presented};
use super::finding::Finding;
use super::target::{Target, Tls};
use crate::tls::{self, Wrong};

const SOON_CURE: &str = "Is it renewed by itself? Renewal usually begins a month before the end.";
const CONNECT_CURE: &str = "Is the address right, and does anything listen there?";
const TRUST_CURE: &str = "Name the issuer's certificate with --ca, or look no further at it with --insecure.";

/// Looks at the certificate. A fault: nothing else can be looked at. With `insecure` what is wrong with it is a warning.
pub(super) async fn check(to: &Target, tls: &Tls, ca: Option<&Path>, insecure: bool) -> Finding {
    const CHECK: &str = "certificate";
    let (chain, version) = match presented(to, tls).await {
        Ok(presented) => presented,
        Err(Failure::Tls(Wrong { seen, cure })) => return Finding::fault(CHECK, seen, cure),
        Err(failure) => return Finding::fault(CHECK, failure.to_string(), CONNECT_CURE),
    };
    let (seen, cure) = match tls::judge(&chain, &tls.name, ca) {
        Ok(Ok(right)) if right.ends_soon => return Finding::warning(CHECK, right.seen, SOON_CURE),
        Ok(Ok(right)) => return Finding::ok(CHECK, format!("{}, over {version}", right.seen)),
        Ok(Err(Wrong { seen, cure })) => (seen, cure),
        Err(problem) => (problem, TRUST_CURE),
    };
    if insecure { Finding::warning(CHECK, seen, cure) } else { Finding::fault(CHECK, seen, cure) }
}
