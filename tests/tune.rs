//! `ringbolt tune` sets what is below, says so, and brings every value back.
//!
//! Fails with a machine that was changed silently, or for good. What is set is the machine's own, so the test that sets
//! runs in a guest only.
#![forbid(unsafe_code)]

use std::fs;
use std::process::{Command, Output};

const SETTINGS: [&str; 9] = [
    "fs.nr_open",
    "fs.file-max",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_migrate_req",
    "fs.pipe-user-pages-soft",
    "net.ipv4.tcp_mem",
    "net.ipv4.ip_local_reserved_ports",
];

fn values() -> Vec<String> {
    let path = |name: &str| format!("/proc/sys/{}", name.replace('.', "/"));
    SETTINGS.iter().map(|name| fs::read_to_string(path(name)).expect("a setting")).collect()
}

fn ringbolt(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringbolt"));
    let Output { status, stdout, stderr } = command.args(arguments).output().expect("run it");
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn looking_changes_nothing() {
    let before = values();
    let (code, text) = ringbolt(&["tune", "--tunnels", "1000000"]);
    assert!(matches!(code, Some(0 | 3)), "{text}");
    assert_eq!(code == Some(3), text.contains("BELOW"), "{text}");
    let (_, json) = ringbolt(&["tune", "--tunnels", "1000000", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(rows.as_array().is_some_and(|rows| rows.len() >= 8), "{json}");
    assert_eq!(values(), before);
}

#[test]
fn a_revert_without_a_record_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let record = folder.path().join("tune.json");
    let (code, text) = ringbolt(&["tune", "--revert", "--record", record.to_str().expect("a path of text")]);
    assert_eq!(code, Some(1));
    assert!(text.contains("no record"), "{text}");
}

#[test]
#[ignore = "changes the machine's settings: cargo xtask kernels runs it in a guest"]
fn applied_settings_suffice_and_a_revert_brings_all_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let record = folder.path().join("tune.json");
    let record = ["--record", record.to_str().expect("a path of text")];
    let config = folder.path().join("ringbolt.toml");
    let text = "[[listener]]\naddress = \"127.0.0.1:18080\"\n[upstream.a]\nbackends = [\"127.0.0.1:1\"]\n";
    fs::write(&config, text).expect("write the configuration");
    let config = ["--config", config.to_str().expect("a path of text")];

    let before = values();
    assert_eq!(ringbolt(&[&["tune"][..], &config].concat()).0, Some(3), "the kernel's defaults are below");
    let (code, told) = ringbolt(&[&["tune", "--apply"][..], &config, &record].concat());
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("net.ipv4.ip_local_port_range: 32768 60999 -> 10240 65535"), "{told}");
    assert!(told.contains("net.ipv4.ip_local_reserved_ports: none -> 18080"), "{told}");
    assert_ne!(values(), before);
    assert_eq!(ringbolt(&[&["tune"][..], &config].concat()).0, Some(0), "now they suffice");

    let (code, told) = ringbolt(&[&["tune", "--revert"][..], &record].concat());
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(values(), before, "{told}");
}
