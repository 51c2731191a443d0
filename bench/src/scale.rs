//! How cost and memory grow with the number of tunnels in one proxy process: on this machine as far as its
//! limits go, and in a guest to a million.
//!
//! Both run the same steps (`steps.rs`): the host in this process, the guest in this program started
//! there. The guest's processor is emulated, so its times are compared with each other and never with the host's.

mod kernel;
mod proxy;
mod report;
mod steps;
mod talk;

use std::env;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringbolt_vm::{Arch, Machine, Program};

use self::report::{Place, Report};
use self::steps::Step;
use crate::{machine, results};

/// Of the host: as many as fit two processes with 20,000 descriptors each.
const HOST_STEPS: [usize; 3] = [1_000, 3_000, 9_000];
/// Of the guest, up to the number asked for.
const GUEST_STEPS: [usize; 5] = [1_000, 10_000, 100_000, 300_000, 1_000_000];
/// Messages a second. The guest is many times slower and must not be saturated by them.
const HOST_RATE: u32 = 200;
const GUEST_RATE: u32 = 10;
/// Time between the limit of opening and that of the guest: for booting, measuring, and closing nothing.
const GUEST_REST: Duration = Duration::from_secs(300);
/// What the guest writes before the JSON of a step.
const MARK: &str = "step: ";

/// Settings of the guest, as `ringbolt plan` asks for them.
///
/// And room for a packet from each socket: when the machine has stopped the guest for five minutes, the keepalive
/// probes of all tunnels are due at once, and loopback drops what does not fit its queue.
const GUEST_SYSCTLS: [&str; 6] = [
    "fs.nr_open=4194304",
    "fs.file-max=9223372036854775807",
    "net.core.somaxconn=16384",
    "net.ipv4.ip_local_port_range=10240 65535",
    "net.ipv4.tcp_max_syn_backlog=16384",
    "net.core.netdev_max_backlog=4000000",
];

/// Words for the guest's kernel. Clearing memory twice and guarding against speculation cost an emulated
/// processor much and show nothing. All four sockets of a tunnel are in this one kernel, so its table of
/// connections is made for twice the sockets that a proxy's machine has.
const GUEST_PARAMETERS: [&str; 3] = ["mitigations=off", "init_on_alloc=0", "thash_entries=2097152"];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Under a minute: 1,000 tunnels on this machine and no guest; the table goes to the screen only
    #[arg(long)]
    quick: bool,
    /// Kernel of the guest
    #[arg(long, value_name = "VERSION", default_value = "6.12")]
    kernel: String,
    /// Tunnels to open in the guest; 0: no guest
    #[arg(long, value_name = "COUNT", default_value_t = 200_000)]
    guest_tunnels: usize,
    /// Memory of the guest: about 17 KiB for each tunnel, because all four ends are in it
    #[arg(long, value_name = "MIB", default_value_t = 5_120)]
    guest_memory: u32,
    /// Opening stops after this time, and what is open is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 1_200)]
    guest_seconds: u64,
    /// Folder for `scale.md` and `scale.json`
    #[arg(long, value_name = "FOLDER", default_value = "bench/results")]
    results: PathBuf,
}

/// What the guest is told to do. Not for people.
#[derive(Debug, clap::Args)]
pub(crate) struct StepsOptions {
    #[arg(long, value_delimiter = ',', required = true)]
    tunnels: Vec<usize>,
    #[arg(long, default_value_t = HOST_RATE)]
    rate: u32,
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

/// Measures, prints the table and writes it to the results folder.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let began = Instant::now();
    let on_host = if options.quick { &HOST_STEPS[..1] } else { &HOST_STEPS };
    eprintln!("on this machine ...");
    let plan = steps::Plan { tunnels: on_host.to_vec(), rate: HOST_RATE, limit: Duration::from_secs(120) };
    let mut host = Place {
        name: "this machine".to_owned(),
        kernel: machine::setting("kernel/osrelease"),
        steps: Vec::new(),
        ended: None,
    };
    host.ended = steps::take(&plan, |step| host.steps.push(step.clone())).err();
    let mut places = vec![host];
    if !options.quick && options.guest_tunnels > 0 {
        places.push(guest(options)?);
    }
    let report = Report {
        command: env::args().skip(1).fold("cargo xtask bench".to_owned(), |text, word| text + " " + &word),
        commit: machine::commit(),
        machine: machine::processors_and_memory(),
        seconds: began.elapsed().as_secs_f64(),
        places,
    };
    let markdown = report.markdown();
    println!("{markdown}");
    if !options.quick {
        results::keep(&options.results, "scale", &markdown, &report)?;
    }
    match report.places.iter().find_map(|place| place.ended.as_ref()) {
        Some(reason) => Err(format!("not all tunnels were reached: {reason}")),
        None => Ok(()),
    }
}

/// Runs the steps and writes each as a line of JSON.
pub(crate) fn run_steps(options: &StepsOptions) -> Result<(), String> {
    let plan = steps::Plan {
        tunnels: options.tunnels.clone(),
        rate: options.rate,
        limit: Duration::from_secs(options.seconds),
    };
    steps::take(&plan, |step| match serde_json::to_string(step) {
        Ok(json) => println!("{MARK}{json}"),
        Err(error) => eprintln!("cannot write JSON: {error}"),
    })
}

fn guest(options: &Options) -> Result<Place, String> {
    let most = options.guest_tunnels;
    let mut tunnels: Vec<usize> = GUEST_STEPS.into_iter().filter(|step| *step < most).collect();
    tunnels.push(most);
    eprintln!("in a guest with {} MiB, up to {most} tunnels ...", options.guest_memory);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let machine = Machine {
        memory_mib: options.guest_memory,
        timeout: Duration::from_secs(options.guest_seconds) + GUEST_REST,
        sysctls: words(&GUEST_SYSCTLS),
        parameters: words(&GUEST_PARAMETERS),
        ..Machine::new(native()?, options.kernel.clone())
    };
    let own = env::current_exe().map_err(|error| format!("cannot find my own executable: {error}"))?;
    let beside = |name: &str| Path::new("/program").join(name);
    let list = tunnels.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let arguments = [
        "scale-steps".to_owned(),
        format!("--tunnels={list}"),
        format!("--rate={GUEST_RATE}"),
        format!("--seconds={}", options.guest_seconds),
    ];
    let mut program = Program::new(&own, arguments);
    program.files = vec![
        (own.with_file_name(proxy::NAME), beside(proxy::NAME)),
        (PathBuf::from("/usr/bin/setpriv"), PathBuf::from("/usr/bin/setpriv")),
    ];
    let mut steps: Vec<Step> = Vec::new();
    let mut said = String::new();
    let outcome = machine.run(&program, |line| match line.strip_prefix(MARK).map(serde_json::from_str) {
        Some(Ok(step)) => steps.push(step),
        _ => {
            eprintln!("  {line}");
            line.clone_into(&mut said);
        }
    });
    let ended = match outcome {
        Ok(0) => None,
        Ok(status) => Some(format!("exit status {status}: {said}")),
        Err(reason) => Some(reason),
    };
    let name = format!("guest under qemu, {} MiB, 2 processors", options.guest_memory);
    Ok(Place { name, kernel: format!("{} of Debian", options.kernel), steps, ended })
}

fn native() -> Result<Arch, String> {
    Arch::native().ok_or(format!("no guests for machines of {}", env::consts::ARCH))
}
