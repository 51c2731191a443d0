//! The help is complete and what it promises is understood.

use clap::CommandFactory as _;

use super::*;
use crate::golden;

fn command(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(line.split_ascii_whitespace()).map(Cli::into_command)
}

fn run(line: &str) -> Config {
    match command(line) {
        Ok(Command::Run(run)) => run.read().unwrap_or_else(|refused| panic!("{refused}")).0,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn clap_accepts_the_definition() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_reads_as_agreed() {
    for (name, line) in [
        ("ringbolt", "ringbolt --help"),
        ("run", "ringbolt run --help"),
        ("check", "ringbolt check --help"),
        ("plan", "ringbolt plan --help"),
        ("tune", "ringbolt tune --help"),
        ("import", "ringbolt import --help"),
    ] {
        let help = command(line).expect_err("help ends the program").to_string();
        golden::assert_same(&golden::path(&format!("src/cli/help/{name}.txt")), &help);
    }
}

#[test]
fn a_start_needs_no_file() {
    let config = run("ringbolt run --listen 127.0.0.1:0 --backend 127.0.0.1:1 --backend localhost:2 \
         --engine epoll --workers 3 --admin off --affinity cookie:c --log-format json --log-level debug");
    assert_eq!(config.listeners.len(), 1);
    let upstream = &config.upstreams["default"];
    assert_eq!(upstream.backends.len(), 2);
    assert_eq!(upstream.affinity.to_string(), "cookie:c");
    assert_eq!((config.workers.engine, config.workers.count), (Engine::Epoll, Some(3)));
    assert_eq!(config.admin, None);
    assert_eq!((config.log.format, config.log.level), (LogFormat::Json, LogLevel::Debug));
}

#[test]
fn flags_come_before_the_file() {
    let file = golden::path("src/config/complete.toml");
    let file = file.display();
    let config = run(&format!("ringbolt run -c {file} --engine uring --admin 127.0.0.1:0"));
    assert_eq!(config.workers.engine, Engine::Uring);
    assert_eq!(config.workers.count, Some(2));
    assert_eq!(config.admin.map(|admin| admin.address.port()), Some(0));
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn a_check_is_asked_for_in_two_ways() {
    for line in ["ringbolt check -c a.toml", "ringbolt -t -c a.toml", "ringbolt --test --config a.toml"] {
        assert!(
            matches!(command(line), Ok(Command::Check { config }) if config.as_os_str() == "a.toml"),
            "{line}"
        );
    }
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    for line in [
        "ringbolt",
        "ringbolt run",
        "ringbolt run --listen 127.0.0.1:0",
        "ringbolt run --backend 127.0.0.1:1",
        "ringbolt run -c a.toml --listen 127.0.0.1:0 --backend 127.0.0.1:1",
        "ringbolt run -c a.toml --affinity none",
        "ringbolt run -c a.toml --workers 0",
        "ringbolt run -c a.toml --engine kqueue",
        "ringbolt run -c a.toml --admin 9180",
        "ringbolt run --listen 127.0.0.1:0 --backend example.com:80",
        "ringbolt plan",
        "ringbolt plan --tunnels 0",
        "ringbolt plan --tunnels 100000001",
        "ringbolt check",
        "ringbolt -t",
        "ringbolt -c a.toml",
        "ringbolt -t -c a.toml run",
    ] {
        let error = command(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}: {error}");
    }
}
