//! The backend of a new session, by rendezvous hashing with bounded load.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use ringbolt_core::affinity::{BackendId, Candidate, choose_bounded, key_of_address, seed_of_name};

use crate::Work;

pub(crate) fn among_3(units: u64) -> Work {
    among(3, units)
}

pub(crate) fn among_16(units: u64) -> Work {
    among(16, units)
}

fn among(count: u32, units: u64) -> Work {
    let candidates: Vec<Candidate> = (0..count)
        .map(|number| Candidate {
            id: BackendId(number),
            seed: seed_of_name(&format!("10.0.0.{number}:3000")),
            weight: 1,
            accepts_new: true,
            serves: true,
            // Some are above their bound, as in a group that has been busy.
            load: 1000 + 200 * (number % 3),
        })
        .collect();
    Box::new(move || {
        for number in (0..=u32::MAX).cycle().take(usize::try_from(units).unwrap_or(usize::MAX)) {
            let client = IpAddr::V4(Ipv4Addr::from_bits(number));
            black_box(choose_bounded(key_of_address(black_box(client)), black_box(&candidates)));
        }
    })
}
