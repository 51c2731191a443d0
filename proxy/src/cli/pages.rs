//! The manual pages and completions of the packages are made from the command line's definition.
//!
//! They stand in the tree, so that a package is built without running anything: `UPDATE_GOLDEN=1 cargo test -p
//! ringbolt` writes them anew.

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;
use crate::golden;

/// The definition without what differs between machines: the version that is printed names the processor.
fn command() -> clap::Command {
    let mut command = Cli::command().version(env!("CARGO_PKG_VERSION"));
    command.build();
    command
}

fn page(command: clap::Command) -> String {
    let mut page = Vec::new();
    Man::new(command).source("Ringbolt").manual("Ringbolt").render(&mut page).unwrap();
    String::from_utf8(page).unwrap()
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let whole = command();
    let path = |name: &str| golden::path(&format!("../packaging/man/{name}.1"));
    golden::assert_same(&path("ringbolt"), &page(whole.clone()));
    for inner in whole.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        let name = format!("ringbolt-{}", inner.get_name());
        let inner = inner.clone().display_name(&name);
        golden::assert_same(&path(&name), &page(inner));
    }
}

#[test]
fn there_are_completions_for_each_shell() {
    for (shell, name) in
        [(Shell::Bash, "ringbolt.bash"), (Shell::Zsh, "_ringbolt"), (Shell::Fish, "ringbolt.fish")]
    {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command(), "ringbolt", &mut text);
        let path = golden::path(&format!("../packaging/completions/{name}"));
        golden::assert_same(&path, &String::from_utf8(text).unwrap());
    }
}
