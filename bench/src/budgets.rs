//! Costs that are the same in every run, held against `bench/budgets.toml`: the instructions of each unit
//! of work of `ringbolt-micro`, counted by callgrind, and the size of the proxy's executable.
//!
//! Unlike times they need no quiet machine, so CI can hold them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::Budgets as Options;
use crate::machine::beside_this_program;

/// Below this part of its budget a cost has become so much lower that the budget holds nothing.
const LOOSE: f64 = 0.9;
/// The function of `ringbolt-micro` in which is counted. Callgrind compares with names that end in a hash.
const COUNTED: &str = "--toggle-collect=*counted_by_callgrind*";

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Budgets {
    /// The only one on which they are compared.
    architecture: String,
    instructions: BTreeMap<String, u64>,
    bytes: Bytes,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bytes {
    binary: u64,
    /// Held by `tests/idle_tunnels.rs`, which needs the running proxy.
    #[serde(rename = "idle-tunnel")]
    _idle_tunnel: u64,
    /// These by `tests/tls_idle.rs`.
    #[serde(rename = "idle-tls-tunnel")]
    _idle_tls_tunnel: u64,
    #[serde(rename = "idle-tls-connection")]
    _idle_tls_connection: u64,
}

/// What was measured, and the most it may be.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    name: String,
    measured: u64,
    budget: u64,
}

/// Measures, prints every cost with its budget, and fails when one is exceeded.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let path = options.file.display();
    let text =
        std::fs::read_to_string(&options.file).map_err(|error| format!("cannot read {path}: {error}"))?;
    let budgets: Budgets = toml::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
    let built = |name: &str| match &options.folder {
        Some(folder) => Ok(folder.join(name)),
        None => beside_this_program(name),
    };

    let mut costs = count_all(&built("ringbolt-micro")?, &budgets.instructions)?;
    if options.without_binary {
        eprintln!("the executable's size is not looked at; `cargo xtask bench budgets` does");
    } else {
        let measured = stripped_size(&built("ringbolt")?)?;
        costs.push(Cost { name: "binary".to_owned(), measured, budget: budgets.bytes.binary });
    }
    for cost in &costs {
        println!("{}", line(cost));
    }
    if std::env::consts::ARCH != budgets.architecture {
        println!("not compared: the budgets are those of {}", budgets.architecture);
        return Ok(());
    }
    judge(&costs, &path.to_string())
}

/// Instructions of one unit of each kind.
fn count_all(program: &Path, budgets: &BTreeMap<String, u64>) -> Result<Vec<Cost>, String> {
    let output = output(&mut Command::new(program))?;
    let (units, names) = parse_list(&output).ok_or(format!("{}: not understood", program.display()))?;
    if let Some(unknown) = budgets.keys().find(|name| !names.contains(&name.as_str())) {
        return Err(format!("a budget for {unknown}, which is no unit of work of ringbolt-micro"));
    }
    let count = |name: &&str| {
        let budget = *budgets.get(*name).ok_or(format!("no budget for {name}"))?;
        Ok(Cost { name: (*name).to_owned(), measured: count(program, name)?.div_ceil(units), budget })
    };
    names.iter().map(count).collect()
}

/// How many units a run does, and the names of their kinds.
fn parse_list(text: &str) -> Option<(u64, Vec<&str>)> {
    let (units, names) = text.split_once('\n')?;
    let units = units.parse().ok().filter(|units| *units > 0)?;
    Some((units, names.lines().collect()))
}

fn count(program: &Path, name: &str) -> Result<u64, String> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--collect-atstart=no", COUNTED, "--callgrind-out-file=/dev/null"]);
    let text = output(valgrind.arg(program).arg(name))?;
    match parse_collected(&text) {
        None => Err(format!("valgrind said nothing of what it has counted:\n{text}")),
        // As when the function was inlined or is called otherwise.
        Some(0) => Err(format!("valgrind has counted nothing in {name}")),
        Some(count) => Ok(count),
    }
}

/// Instructions, in what callgrind says when it ends.
fn parse_collected(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

/// Without symbols and line tables, as it is installed.
fn stripped_size(program: &Path) -> Result<u64, String> {
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let stripped = folder.path().join("stripped");
    output(Command::new("strip").arg("-o").arg(&stripped).arg(program))?;
    let metadata = stripped.metadata().map_err(|error| format!("strip wrote nothing: {error}"))?;
    Ok(metadata.len())
}

/// All a program says. Anything but success is an error.
fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| {
        format!("cannot start {program}: {error}; `cargo xtask tools` installs what is missing")
    })?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("{program} ended with {}:\n{text}", output.status))
    }
}

fn line(cost: &Cost) -> String {
    let Cost { name, measured, budget } = cost;
    let part = *measured as f64 / *budget as f64;
    let remark = match part {
        part if part > 1.0 => "  exceeded",
        part if part < LOOSE => "  can be lowered",
        _ => "",
    };
    format!("{name:<20} {measured:>9} of {budget:>9} {:>5.1} %{remark}", part * 100.0)
}

fn judge(costs: &[Cost], path: &str) -> Result<(), String> {
    let exceeded: Vec<&str> =
        costs.iter().filter(|cost| cost.measured > cost.budget).map(|cost| cost.name.as_str()).collect();
    if exceeded.is_empty() {
        return Ok(());
    }
    Err(format!(
        "over budget: {}\n  If what it buys is worth it, raise the budget in {path} and say in the commit what it buys.",
        exceeded.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(measured: u64) -> Cost {
        Cost { name: "sid-lookup".to_owned(), measured, budget: 100 }
    }

    #[test]
    fn a_cost_may_reach_its_budget_and_not_exceed_it() {
        assert_eq!(judge(&[cost(100), cost(1)], "file"), Ok(()));
        let text = judge(&[cost(100), cost(101)], "bench/budgets.toml").unwrap_err();
        assert!(
            text.starts_with("over budget: sid-lookup\n") && text.contains("bench/budgets.toml"),
            "{text}"
        );
    }

    #[test]
    fn a_line_says_what_to_do() {
        for (measured, end) in [(101, "101.0 %  exceeded"), (95, " 95.0 %"), (89, " 89.0 %  can be lowered")]
        {
            assert!(line(&cost(measured)).ends_with(end), "{}", line(&cost(measured)));
        }
    }

    #[test]
    fn what_callgrind_collected_is_found() {
        let text = "==7== Callgrind, a tool\n==7== Events    : Ir\n==7== Collected : 108890025\n==7== \n";
        assert_eq!(parse_collected(text), Some(108_890_025));
        assert_eq!(parse_collected("==7== Events : Ir\n"), None);
    }

    #[test]
    fn a_list_needs_units() {
        assert_eq!(parse_list("100\na\nb\n"), Some((100, vec!["a", "b"])));
        assert_eq!(parse_list("0\na\n"), None);
        assert_eq!(parse_list("a\nb\n"), None);
    }

    #[test]
    fn a_budget_and_a_unit_of_work_need_each_other() {
        // Prints a list like ringbolt-micro's; nothing is counted before the names are compared.
        let program = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&program, "#!/bin/sh\necho 10\necho known\n").unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, executable).unwrap();
        let budgets = BTreeMap::from([("unknown".to_owned(), 1)]);
        assert!(count_all(&program, &budgets).unwrap_err().contains("budget for unknown"));
        assert!(count_all(&program, &BTreeMap::new()).unwrap_err().contains("no budget for known"));
    }

    #[test]
    fn the_file_is_understood() {
        let budgets: Budgets = toml::from_str(include_str!("../budgets.toml")).unwrap();
        assert!(!budgets.instructions.is_empty() && budgets.bytes.binary > 0);
    }
}
