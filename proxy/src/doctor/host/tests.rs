//! What is said about machines of our own making.

use std::io;

use super::super::finding::Severity;
use super::*;

const MIB: u64 = 1024 * 1024;
const NEEDS: Needs = Needs { connections: 1000, descriptors: 2200, memory_bytes: 64 * MIB };

fn good() -> Facts {
    Facts {
        kernel: "6.12".to_owned(),
        ring: Ok(RingSupport { flags: "ALL (6.1)", receives: true }),
        ktls: KtlsSupport::default(),
        pipe: Ok(limits::PIPE_BYTES),
        descriptors: 2200,
        memory_limit: None,
        clock_source: Some("tsc".to_owned()),
        clock_is_synchronised: Some(true),
        tracked_max: None,
        settings_below: Vec::new(),
    }
}

/// Checks that are not in order, but for kTLS, which [`good`] has not: only the kernel can say that it offers any.
fn wrong(facts: &Facts) -> Vec<&'static str> {
    let found = findings(facts, &NEEDS);
    let wrong: Vec<&Finding> = found.iter().filter(|finding| finding.severity != Severity::Ok).collect();
    assert!(wrong.iter().all(|finding| finding.cure.is_some()), "{wrong:?}");
    let mut checks: Vec<&str> = wrong.iter().map(|finding| finding.check).collect();
    let place = checks.iter().position(|check| *check == "kTLS").expect("kTLS is missed");
    checks.remove(place);
    checks
}

#[test]
fn each_lack_is_a_warning_of_its_own_with_a_cure() {
    assert_eq!(wrong(&good()), [""; 0]);
    let limit = |mib: u64| Some(memory::Limit { bytes: mib * MIB, group: "/a/memory.max".to_owned() });
    let cases: [(&str, Facts); 9] = [
        ("receives", Facts { ring: Ok(RingSupport { flags: "none (5.13)", receives: false }), ..good() }),
        ("splice", Facts { pipe: Ok(8192), ..good() }),
        ("splice", Facts { pipe: Err(io::ErrorKind::OutOfMemory.into()), ..good() }),
        ("descriptors", Facts { descriptors: 2199, ..good() }),
        ("cgroup memory", Facts { memory_limit: limit(63), ..good() }),
        ("clock source", Facts { clock_source: Some("hpet".to_owned()), ..good() }),
        ("clock", Facts { clock_is_synchronised: Some(false), ..good() }),
        ("tracking", Facts { tracked_max: Some(1), ..good() }),
        ("settings", Facts { settings_below: vec!["fs.nr_open".to_owned()], ..good() }),
    ];
    for (check, facts) in cases {
        assert_eq!(wrong(&facts), [check]);
    }
    assert_eq!(wrong(&Facts { memory_limit: limit(64), ..good() }), [""; 0], "exactly enough");
    assert_eq!(wrong(&Facts { clock_is_synchronised: None, ..good() }), [""; 0], "unknown is no fault");
}

#[test]
fn a_refused_ring_is_explained() {
    let refusal = RingRefusal {
        error: io::Error::from(io::ErrorKind::PermissionDenied),
        cause: "a filter forbids it".to_owned(),
        cure: "allow it",
    };
    let found = findings(&Facts { ring: Err(refusal), ..good() }, &NEEDS);
    assert_eq!(
        (found[0].check, found[0].severity, found[0].cure),
        ("io_uring", Severity::Warning, Some("allow it"))
    );
    assert!(found[0].seen.contains("a filter forbids it") && found[0].seen.contains("epoll"));
    assert_ne!(found[1].check, "receives", "nothing to say about a ring that is not there");
}

#[test]
fn this_machine_is_looked_at() {
    let report = look(None);
    let checks: Vec<&str> = report.findings.iter().map(|finding| finding.check).collect();
    for check in ["io_uring", "kTLS", "splice", "descriptors", "cgroup memory", "settings"] {
        assert!(checks.contains(&check), "{check}: {checks:?}");
    }
    assert!(report.url.starts_with("this machine, Linux "), "{}", report.url);
}
