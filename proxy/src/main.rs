//! The daemon `ringbolt`: from the command line to the exit code.
#![forbid(unsafe_code)]

mod accept;
mod access_log;
mod activation;
mod admin;
mod admission;
mod affinity;
mod answer;
mod ask;
mod binding;
mod cli;
mod client;
mod config;
mod config_file;
mod connect;
mod connection;
mod date;
mod descriptors;
mod detect;
mod differences;
mod directory;
mod discovery;
mod doctor;
mod downgrades;
mod drain;
mod edits;
mod error;
mod forward;
#[cfg(test)]
mod golden;
mod handover;
mod health;
mod hot_buffer;
mod housekeeping;
mod identity;
mod import;
mod lifecycle;
mod limits;
mod listeners;
mod load;
mod log;
mod lookups;
mod mac;
mod memory;
mod metrics;
mod notify;
mod order;
mod orders;
mod outputs;
mod pipes;
mod plan;
mod pool;
mod privileges;
mod proxy_header;
mod queue;
mod relay;
mod reload;
mod request;
mod request_ids;
mod response;
mod route;
mod search;
mod served;
mod server;
mod sids;
mod signals;
mod snapshot;
mod sni;
mod spare;
mod start;
mod status;
mod stream;
mod sweep;
mod tags;
mod tcp;
mod tls;
mod top;
mod traces;
mod transport;
mod tune;
mod tunnel;
mod watchdog;
mod worker;

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use ringbolt_reactor::Counted;
use tokio::sync::oneshot;

use crate::admin::View;
use crate::cli::{Cli, Command, EXIT_CONFIG, VERSION};
use crate::config::Config;
use crate::directory::Directory;
use crate::discovery::Discovery;
use crate::handover::{AdminSockets, Estate, Program, Successor, Upgrader};
use crate::housekeeping::{Duties, End, Housekeeping};
use crate::lifecycle::{Lifecycle, Phase};
use crate::log::Started;
use crate::metrics::{Counters, Page};
use crate::notify::Notify;
use crate::plan::{Extent, Host, Plan};
use crate::reload::{Reloader, Source, Stamp};
use crate::server::Inheritance;
use crate::start::StartError;
use crate::status::Status;

#[global_allocator]
static ALLOCATOR: Counted<mimalloc::MiMalloc> = Counted(mimalloc::MiMalloc);

fn main() -> ExitCode {
    match Cli::parse().into_command() {
        Command::Version => {
            tell(io::stdout(), &format!("ringbolt {}", *VERSION));
            ExitCode::SUCCESS
        }
        Command::Check { config } => check(&config),
        Command::Plan(asked) => plan(&asked),
        Command::Tune(asked) => {
            with_config(asked.config.as_deref(), |config| tune::run(&asked, config, io::stdout()))
        }
        Command::Order(order) => give(&order),
        Command::Config(asked) => config_file::run(&asked, io::stdout(), io::stderr()),
        Command::Top(asked) => top::run(&asked).unwrap_or_else(|error| {
            tell(io::stderr(), &error);
            ExitCode::FAILURE
        }),
        Command::Import(asked) => import::run(&asked, io::stdout(), io::stderr()).unwrap_or_else(|error| {
            tell(io::stderr(), &error);
            ExitCode::FAILURE
        }),
        Command::Doctor(asked) => with_config(asked.config.as_deref(), |config| {
            if asked.host {
                return doctor::run_on_host(config, asked.json, io::stdout());
            }
            doctor::run(&asked, io::stdout())
        }),
        Command::Run(run) => {
            // First, so that no change of the file goes unnoticed.
            let stamp = run.file().and_then(Stamp::of);
            match run.read() {
                Ok((config, text)) => serve((run, stamp, text), config),
                Err(refused) => refuse(&refused),
            }
        }
    }
}

fn check(file: &Path) -> ExitCode {
    match Config::load(file) {
        Ok(config) => {
            if let Some(code) = check_tls(file, &config).or_else(|| check_directory(file, &config)) {
                return code;
            }
            let entries = |upstream: &config::Upstream| upstream.backends.len() + upstream.sources.len();
            let backends: usize = config.upstreams.values().map(entries).sum();
            let (listeners, routes, upstreams) =
                (config.listeners.len(), config.routes.len(), config.upstreams.len());
            tell(
                io::stdout(),
                &format!(
                    "{}: valid; listeners: {listeners}, routes: {routes}, upstreams: {upstreams}, backends: {backends}",
                    file.display()
                ),
            );
            ExitCode::SUCCESS
        }
        Err(refused) => refuse(&refused),
    }
}

/// Loads what TLS needs and says what is wrong with it; the exit code if that is fatal.
fn check_tls(file: &Path, config: &Config) -> Option<ExitCode> {
    let file = file.display();
    let notices = match tls::Setup::load(config) {
        Ok(tls) => tls.notices(),
        Err(problems) => {
            problems.iter().for_each(|problem| tell(io::stderr(), &format!("{file}: {problem}")));
            return Some(ExitCode::from(EXIT_CONFIG));
        }
    };
    for notice in &notices {
        let kind = if notice.fatal { "" } else { "warning: " };
        tell(io::stderr(), &format!("{file}: {kind}{}", notice.text));
    }
    notices.iter().any(|notice| notice.fatal).then(|| ExitCode::from(EXIT_CONFIG))
}

/// Loads what the shared directory needs and says what is wrong with it; the exit code if that is fatal.
fn check_directory(file: &Path, config: &Config) -> Option<ExitCode> {
    let name = file.display();
    for warning in config.directory_warnings(file) {
        tell(io::stderr(), &format!("{name}: warning: {warning}"));
    }
    let problem = config.directory.as_ref().and_then(|settings| directory::Client::new(settings).err())?;
    tell(io::stderr(), &format!("{name}: {problem}"));
    Some(ExitCode::from(EXIT_CONFIG))
}

fn plan(asked: &cli::Plan) -> ExitCode {
    with_config(asked.config.as_deref(), |config| {
        let extent = Extent::new(asked.tunnels, config, cores());
        let plan = Plan::new(&extent, &Host::read());
        let text = if asked.json { plan.json() } else { plan.to_string() };
        tell(io::stdout(), &text);
        Ok(ExitCode::SUCCESS)
    })
}

/// Does something that a configuration file may add to.
fn with_config(
    file: Option<&Path>,
    work: impl FnOnce(Option<&Config>) -> Result<ExitCode, String>,
) -> ExitCode {
    let config = match file.map(Config::load).transpose() {
        Ok(config) => config,
        Err(refused) => return refuse(&refused),
    };
    work(config.as_ref()).unwrap_or_else(|error| {
        tell(io::stderr(), &error);
        ExitCode::FAILURE
    })
}

fn give(order: &cli::Order) -> ExitCode {
    let ask = order.ask();
    match order::give(&ask) {
        Ok(answer) if answer.status == 200 => {
            tell(io::stdout(), answer.shown(ask.print).trim_end());
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            tell(io::stderr(), answer.text.trim_end());
            let is_refused = answer.status == 422 && matches!(order, cli::Order::Reload(_));
            if is_refused { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
        }
        Err(error) => {
            tell(io::stderr(), &format!("{}: {error}; is admin.socket configured?", ask.socket.display()));
            ExitCode::FAILURE
        }
    }
}

fn refuse(refused: &config::Refused) -> ExitCode {
    tell(io::stderr(), &refused.to_string());
    ExitCode::from(EXIT_CONFIG)
}

/// Writes a line, if anybody still reads.
fn tell(mut to: impl io::Write, line: &str) {
    let _ = writeln!(to, "{line}");
}

fn serve(source: Source, config: Config) -> ExitCode {
    log::init(config.log);
    match run(source, &Arc::new(config)) {
        Ok(end) => ExitCode::from(end.exit_code()),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Cores this process may use: as many workers it has by default.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The configuration with the backends that are found for it now.
///
/// # Errors
/// There is a process to take over from, which may know backends that cannot be found now.
fn discover(
    housekeeping: &Housekeeping,
    discovery: &mut Discovery,
    config: &Config,
    takes_over: bool,
) -> Result<Arc<Config>, StartError> {
    housekeeping.discover(discovery, config);
    let unanswered = discovery.unanswered().join(", ");
    if !unanswered.is_empty() {
        if takes_over {
            return Err(StartError::new(format!("no backends are found: {unanswered}")));
        }
        tracing::warn!(unanswered, "serving without backends that are not found yet");
    }
    Ok(Arc::new(discovery.complete(config)))
}

/// Connects to the shared directory, where there is one.
fn open_directory(
    housekeeping: &Housekeeping,
    config: &Config,
    counters: &Counters,
    file: Option<&Path>,
) -> Result<Option<(Arc<Directory>, directory::Service)>, StartError> {
    let opened = Directory::open(config, Arc::clone(counters.housekeeping())).map_err(StartError::new)?;
    for warning in file.map_or_else(Vec::new, |file| config.directory_warnings(file)) {
        tracing::warn!("{warning}");
    }
    Ok(opened.map(|(directory, mut service)| {
        housekeeping.connect(&mut service);
        (directory, service)
    }))
}

/// Loads what TLS needs, and says what is noticed about it.
fn load_tls(config: &Config) -> Result<Arc<tls::Current>, StartError> {
    let tls = tls::Setup::load(config).map_err(|problems| StartError::new(problems.join("; ")))?;
    for notice in tls.notices() {
        tracing::warn!("{}", notice.text);
    }
    if let Some(support) = tls.kernel() {
        tracing::info!("kTLS: {support}");
    }
    Ok(Arc::new(tls::Current::new(tls)))
}

/// The admin address and the admin socket with its path, each if there is one.
type AdminBound = (Option<TcpListener>, Option<(UnixListener, PathBuf)>);

/// Binds the admin address and socket, or takes them over.
fn bind_admin(config: &Config, mut estate: Option<&mut Estate>) -> Result<AdminBound, StartError> {
    let admin = config.admin.map(|admin| {
        let inherited = estate.as_mut().and_then(|estate| estate.admin(admin.address));
        inherited.map_or_else(|| admin::bind(admin.address), Ok)
    });
    let admin = admin.transpose()?;
    let socket = config.admin_socket.as_deref().map(|path| {
        let inherited = estate.as_mut().and_then(|estate| estate.socket(path));
        inherited.map_or_else(|| admin::bind_socket(path), Ok).map(|socket| (socket, path.to_owned()))
    });
    Ok((admin, socket.transpose()?))
}

/// What another process leaves, or a service manager.
fn inheritance(estate: Option<&mut Estate>) -> Result<Inheritance, StartError> {
    match estate {
        Some(estate) => Ok(estate.inheritance()),
        None => Ok(Inheritance { listeners: activation::listeners()?, hash_key: None }),
    }
}

/// Starts everything, in the order in which it may fail, and stays until the end.
fn run(source: Source, config: &Arc<Config>) -> Result<End, StartError> {
    let failed = |error| StartError::new(format!("the housekeeping thread failed: {error}"));
    let program = Program::of_this_process().map_err(failed)?;
    let (successor, mut estate) = Successor::greet()?.unzip();
    let workers = config.workers.count.unwrap_or_else(cores);
    let reserve = descriptors::reserve(workers, config.listeners.len());
    let connections = descriptors::prepare(config.limits.connections, reserve)?;
    let (admin, socket) = bind_admin(config, estate.as_mut())?;
    let admin_address = admin.as_ref().and_then(|listener| listener.local_addr().ok());
    let housekeeping = Housekeeping::new().map_err(failed)?;

    let counters = Counters::new(workers);
    let housekeeping_counters = Arc::clone(counters.housekeeping());
    let mut discovery = Discovery::new(Arc::clone(&housekeeping_counters));
    let (file, found) = (config, discover(&housekeeping, &mut discovery, config, successor.is_some())?);
    let edits = estate.as_mut().map(|estate| estate.edits().differing(&found)).unwrap_or_default();
    let config = &Arc::new(edits.applied(&found));
    let lifecycle = Arc::new(Lifecycle::default());
    let tls = load_tls(config)?;
    let page = Page::new(counters.clone(), config.limits.sids, Arc::clone(&tls));

    let (end, workers_ended) = oneshot::channel();
    let inheritance = inheritance(estate.as_mut())?;
    let notify = Notify::from_environment(&inheritance);
    let (shared, directory) = open_directory(&housekeeping, config, &counters, source.0.file())?.unzip();
    let mut server = server::start(config, &tls, connections, &counters, end, inheritance, shared)?;
    if let Some(refusal) = &server.refusal {
        tracing::warn!("io_uring is refused, epoll serves instead: {refusal}");
    }
    if let Some(successor) = successor {
        successor.take_over(&mut server)?.show(&housekeeping_counters);
    }
    lifecycle.enter(Phase::Ready);
    let (listen, engine) = (&server.addresses(), server.engine);
    log::ready(config, Started { listen, admin: admin_address, workers, engine });
    notify.keep(server.listeners());
    notify.ready("serving");
    let configured = config.admin.map(|admin| admin.address);
    let admin_sockets = AdminSockets::of(configured.zip(admin.as_ref()), socket.as_ref()).map_err(failed)?;
    let upgrader =
        Upgrader::new(program, admin_sockets, Arc::clone(&lifecycle), Arc::clone(&housekeeping_counters));
    let view = Arc::new(View {
        page,
        lifecycle: Arc::clone(&lifecycle),
        served: server.served(),
        downgrades: server.downgrades(),
        status: Arc::new(Status::new()),
    });
    let collector = server.collector(counters.clone(), Arc::clone(&lifecycle));
    let outputs = server.take_outputs();
    let reloader = Reloader::new(
        source,
        (Arc::clone(file), discovery, edits),
        server,
        lifecycle,
        housekeeping_counters,
        notify,
    );
    let orders = Arc::new(reloader.orders(counters));
    let duties =
        Duties { admin, socket, view, orders, collector, reloader, tls, upgrader, directory, outputs };
    housekeeping.run(duties, workers_ended).map_err(failed)
}
