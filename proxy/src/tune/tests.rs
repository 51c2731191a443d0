//! Settings below a folder of our own: what is set, what is recorded, and what comes back.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::wanted::RULES;
use super::*;
use crate::plan::recommended;

/// A machine with the kernel's defaults.
const DEFAULTS: [(&str, &str); 9] = [
    ("fs.nr_open", "1048576"),
    ("fs.file-max", "9223372036854775807"),
    ("net.core.somaxconn", "4096"),
    ("net.ipv4.ip_local_port_range", "32768\t60999"),
    ("net.ipv4.tcp_tw_reuse", "2"),
    ("net.ipv4.tcp_migrate_req", "0"),
    ("fs.pipe-user-pages-soft", "16384"),
    ("net.ipv4.tcp_mem", "287901\t383869\t575802"),
    ("net.ipv4.ip_local_reserved_ports", ""),
];

struct Machine {
    folder: TempDir,
    sysctls: Sysctls,
    record: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (root, record) = (folder.path().join("sys"), folder.path().join("state/tune.json"));
        let machine = Self { sysctls: Sysctls::below(&root), folder, record };
        DEFAULTS.iter().for_each(|(name, value)| machine.write(name, value));
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("sys").join(name.replace('.', "/"))
    }

    fn write(&self, name: &str, value: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), format!("{value}\n")).unwrap();
    }

    fn rows(&self, tunnels: u32, config: Option<&Config>) -> Vec<Row> {
        rows(&self.sysctls, tunnels, config)
    }

    fn below(&self) -> Vec<&'static str> {
        self.rows(1000, None).into_iter().filter(Row::is_below).map(|row| row.name).collect()
    }

    fn apply(&self) -> String {
        let mut out = Vec::new();
        apply(&self.sysctls, &self.rows(1000, None), &self.record, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn revert(&self) -> Result<String, String> {
        let mut out = Vec::new();
        revert(&self.sysctls, &self.record, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn all(&self) -> Vec<Option<String>> {
        DEFAULTS.iter().map(|(name, _)| self.sysctls.get(name)).collect()
    }
}

fn config(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ringbolt.toml");
    fs::write(&path, format!("{text}\n[upstream.a]\nbackends = [\"127.0.0.1:1\"]\n")).unwrap();
    Config::load(&path).unwrap_or_else(|refused| panic!("{refused}"))
}

#[test]
fn every_setting_of_the_recommended_file_has_a_rule_and_every_rule_a_setting() {
    let entries: Vec<&str> = recommended::entries().iter().map(|entry| entry.name).collect();
    assert_eq!(entries, RULES.map(|(name, _)| name));
}

#[test]
fn applied_values_are_those_of_the_recommended_file() {
    let machine = Machine::new();
    machine.apply();
    for entry in recommended::entries() {
        assert_eq!(machine.sysctls.get(entry.name).as_deref(), Some(entry.value), "{}", entry.name);
    }
    assert_eq!(machine.below(), [""; 0]);
    assert_eq!(machine.apply(), "every setting suffices, nothing was changed\n");
}

#[test]
fn what_suffices_is_left_alone() {
    let machine = Machine::new();
    for (name, value) in [
        ("fs.nr_open", "9000000"),
        ("net.core.somaxconn", "16384"),
        ("net.ipv4.ip_local_port_range", "1024\t65535"),
        ("net.ipv4.tcp_tw_reuse", "1"),
        ("net.ipv4.tcp_migrate_req", "1"),
        ("fs.pipe-user-pages-soft", "0"),
    ] {
        assert!(machine.below().contains(&name), "{name} is below before");
        machine.write(name, value);
        assert!(!machine.below().contains(&name), "{name} = {value}");
    }
}

#[test]
fn what_tunnels_take_goes_above_what_is_recommended() {
    let machine = Machine::new();
    let wanted = |tunnels, name: &str| {
        let rows = machine.rows(tunnels, None);
        rows.into_iter().find(|row| row.name == name).unwrap().wanted
    };
    assert_eq!(wanted(1000, "fs.nr_open"), "4194304");
    assert!(wanted(10_000_000, "fs.nr_open").parse::<u64>().unwrap() > 20_000_000);
    assert_eq!(wanted(1000, "net.ipv4.tcp_mem"), "287901 383869 575802");
    let raised: Vec<u64> =
        wanted(50_000_000, "net.ipv4.tcp_mem").split(' ').map(|word| word.parse().unwrap()).collect();
    assert!(raised[0] < raised[1] && raised[1] < raised[2] && raised[1] >= 2_000_000, "{raised:?}");
}

#[test]
fn ports_of_listeners_inside_the_range_are_reserved_beside_those_there_are() {
    let machine = Machine::new();
    machine.write("net.ipv4.ip_local_reserved_ports", "20000-20010,30000");
    let config = config(
        "[admin]\naddress = \"127.0.0.1:9180\"\n[[listener]]\naddress = \"0.0.0.0:443\"\n\
         [[listener]]\naddress = \"0.0.0.0:18080\"\n[[listener]]\naddress = \"0.0.0.0:20005\"",
    );
    let row = machine.rows(1000, Some(&config)).pop().unwrap();
    assert_eq!(
        (row.name, row.wanted.as_str()),
        ("net.ipv4.ip_local_reserved_ports", "20000-20010,30000,18080")
    );
}

#[test]
fn a_setting_the_kernel_lacks_is_not_wanted() {
    let machine = Machine::new();
    fs::remove_file(machine.path("net.ipv4.tcp_migrate_req")).unwrap();
    assert!(!machine.below().contains(&"net.ipv4.tcp_migrate_req"));
    machine.apply();
    assert!(!machine.path("net.ipv4.tcp_migrate_req").exists());
}

#[test]
fn a_revert_brings_every_value_back_and_says_so() {
    let machine = Machine::new();
    let before = machine.all();
    let told = machine.apply();
    assert!(told.contains("net.core.somaxconn: 4096 -> 16384\n"), "{told}");
    assert!(told.contains("--revert"), "{told}");
    assert_ne!(machine.all(), before);
    // Applied again after a setting was lowered: the first value is the one to bring back.
    machine.write("net.core.somaxconn", "128");
    machine.apply();
    let told = machine.revert().unwrap();
    assert!(told.contains("net.core.somaxconn: 16384 -> 4096\n"), "{told}");
    assert_eq!(machine.all(), before);
    assert!(!machine.record.exists());
    assert!(machine.revert().unwrap_err().contains("no record"));
}

#[test]
fn a_revert_leaves_what_somebody_else_has_set_since() {
    let machine = Machine::new();
    machine.apply();
    machine.write("net.core.somaxconn", "65535");
    let told = machine.revert().unwrap();
    assert!(told.contains("net.core.somaxconn: left at 65535"), "{told}");
    assert_eq!(machine.sysctls.get("net.core.somaxconn").as_deref(), Some("65535"));
    assert_eq!(machine.sysctls.get("fs.nr_open").as_deref(), Some("1048576"));
}

#[test]
fn the_record_is_there_before_anything_is_changed() {
    let machine = Machine::new();
    let before = machine.all();
    // The folder of the record cannot be made.
    fs::write(machine.record.parent().unwrap(), "").unwrap();
    let refused = apply(&machine.sysctls, &machine.rows(1000, None), &machine.record, Vec::new());
    assert!(refused.unwrap_err().contains("tune.json"));
    assert_eq!(machine.all(), before);
}

#[test]
fn what_cannot_be_set_is_said_and_not_recorded() {
    let machine = Machine::new();
    let rows = machine.rows(1000, None);
    // Vanishes between the look and the change; file modes do not stop root.
    fs::remove_file(machine.path("net.core.somaxconn")).unwrap();
    let mut out = Vec::new();
    let code = apply(&machine.sysctls, &rows, &machine.record, &mut out).unwrap();
    let told = String::from_utf8(out).unwrap();
    assert!(told.contains("net.core.somaxconn: stays 4096, cannot be set to 16384: "), "{told}");
    assert_eq!(code, ExitCode::FAILURE);
    assert!(!fs::read_to_string(&machine.record).unwrap().contains("somaxconn"));
}

#[test]
fn the_table_names_what_is_below_and_how_to_change_it() {
    let machine = Machine::new();
    let text = table::text(&machine.rows(1000, None), 1000);
    assert!(
        text.contains("sysctl -w net.ipv4.ip_local_port_range=\"10240 65535\"\n      Local ports"),
        "{text}"
    );
    machine.apply();
    let text = table::text(&machine.rows(1000, None), 1000);
    assert!(text.contains("every setting suffices") && !text.contains("BELOW"), "{text}");
}
