//! The numbers follow from the number of tunnels, and a verdict from the machine.

use super::*;

/// A machine with the kernel's defaults and 64 GiB.
fn default_host() -> Host {
    Host {
        page_bytes: 4096,
        memory_bytes: Some(64 << 30),
        descriptors: 1_048_576,
        nr_open: Some(1_048_576),
        files_open: Some(1000),
        file_max: Some(i64::MAX as u64),
        ports: Some(28_232),
        tcp_pages_pressure: Some(1_000_000),
        tcp_pages_used: Some(5),
        somaxconn: Some(4096),
        pipe_pages_soft: Some(16_384),
        conntrack_max: None,
    }
}

/// The same machine with the settings of `kernel-tuning`.
fn tuned_host() -> Host {
    Host {
        descriptors: 2_097_152,
        nr_open: Some(recommended::number("fs.nr_open")),
        ports: Some(recommended::ports()),
        somaxconn: Some(recommended::number("net.core.somaxconn")),
        pipe_pages_soft: Some(recommended::number("fs.pipe-user-pages-soft")),
        ..default_host()
    }
}

fn extent(tunnels: u32) -> Extent {
    Extent {
        tunnels,
        workers: 2,
        listeners: 1,
        engine: Engine::Auto,
        connections_max: Some(1_000_000),
        backend_addresses: Some(2),
    }
}

fn verdict(plan: &Plan, name: &str) -> (u64, Option<bool>) {
    let setting = plan.settings.iter().find(|setting| setting.name == name).expect(name);
    (setting.needed, setting.suffices)
}

#[test]
fn a_few_tunnels_need_nothing_but_what_is_recommended() {
    let plan = Plan::new(&extent(10_000), &default_host());
    let below: Vec<&str> = plan
        .settings
        .iter()
        .filter(|setting| setting.suffices != Some(true))
        .map(|setting| setting.name)
        .collect();
    assert_eq!(below, ["net.core.somaxconn", "fs.pipe-user-pages-soft"]);
}

#[test]
fn a_million_tunnels_are_stopped_by_descriptors_and_ports() {
    let plan = Plan::new(&extent(1_000_000), &default_host());
    let descriptors = 2_000_000 + 64 + 2 * 65;
    assert_eq!(verdict(&plan, "LimitNOFILE"), (descriptors, Some(false)));
    assert_eq!(verdict(&plan, "fs.nr_open"), (descriptors, Some(false)));
    assert_eq!(verdict(&plan, "fs.file-max"), (descriptors + 1000, Some(true)));
    assert_eq!(verdict(&plan, "limits.connections"), (1_000_000, Some(true)));
    // 1.25 times the tunnels, at half of 28,232 to an address.
    assert_eq!(verdict(&plan, "backend addresses"), (89, Some(false)));
    assert_eq!(verdict(&plan, "fs.pipe-user-pages-soft"), (512 * 64, Some(false)));
    assert_eq!(verdict(&plan, "available memory, bytes").1, Some(true));
    assert!(!plan.suffices);
}

#[test]
fn what_the_project_recommends_is_enough_for_a_million() {
    let plan = Plan::new(&Extent { backend_addresses: Some(46), ..extent(1_000_000) }, &tuned_host());
    assert!(plan.suffices, "{plan}");
    assert!(plan.to_string().ends_with("this machine is ready for them"), "{plan}");
}

#[test]
fn a_limit_that_is_met_exactly_suffices_and_one_less_does_not() {
    let needed = extent(5).descriptors();
    let given = |descriptors| {
        let plan = Plan::new(&extent(5), &Host { descriptors, ..default_host() });
        verdict(&plan, "LimitNOFILE").1
    };
    assert_eq!((given(needed), given(needed - 1)), (Some(true), Some(false)));
}

#[test]
fn what_is_not_known_is_no_yes() {
    let host = Host { memory_bytes: None, ..tuned_host() };
    let plan = Plan::new(&Extent { backend_addresses: None, connections_max: None, ..extent(1) }, &host);
    assert_eq!(verdict(&plan, "available memory, bytes").1, None);
    assert_eq!(verdict(&plan, "backend addresses"), (1, None));
    assert!(plan.settings.iter().all(|setting| setting.name != "limits.connections"));
    assert!(!plan.suffices);
}

#[test]
fn no_limit_on_pipes_and_tracked_connections_are_understood() {
    let host = Host { pipe_pages_soft: Some(0), conntrack_max: Some(15), ..default_host() };
    let plan = Plan::new(&extent(8), &host);
    assert_eq!(verdict(&plan, "fs.pipe-user-pages-soft").1, Some(true));
    assert_eq!(verdict(&plan, "net.netfilter.nf_conntrack_max"), (16, Some(false)));
}

#[test]
fn memory_is_the_sum_of_its_lines_and_depends_on_the_engine() {
    let of = |engine| Plan::new(&Extent { engine, ..extent(1_000_000) }, &default_host());
    let (ring, epoll) = (of(Engine::Uring), of(Engine::Epoll));
    for plan in [&ring, &epoll] {
        let lines = plan.memory.iter().chain(&plan.memory_under_load);
        assert_eq!(plan.memory_bytes, lines.map(|line| line.count * line.bytes_each).sum::<u64>());
    }
    let difference = 2_000_000 * (costs::RING_POLL_BYTES - costs::EPOLL_ENTRY_BYTES);
    assert_eq!(ring.memory_bytes - epoll.memory_bytes, difference);
}
