//! What DNS says about where backends are.
//!
//! The resolver asks and follows aliases; nothing is cached here, because whoever asks knows how long an answer holds.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, Record};
use ringbolt_core::discovery::{Found, srv_standing};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::config::{self, Place, bounds};
use crate::limits::DISCOVERED_PER_SOURCE_MAX;

/// Asks the configured servers.
#[derive(Debug)]
pub(super) struct Lookup {
    /// `Err`: why there is nobody to ask.
    resolver: Result<TokioResolver, String>,
    permits: Arc<Semaphore>,
}

/// Who is named, by name, and for how long that holds.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Answer {
    pub(super) found: BTreeMap<String, Found>,
    pub(super) ttl: Duration,
}

/// An address of a name, and for how long it is that.
type Address = (Vec<IpAddr>, Duration);

impl Lookup {
    pub(super) fn new(settings: &config::Discovery, permits: Arc<Semaphore>) -> Self {
        let resolver = resolver(settings).map_err(|error| format!("no servers to ask: {error}"));
        Self { resolver, permits }
    }

    /// Looks a place up. `known`: the address that a name had last.
    ///
    /// # Errors
    /// There is no answer. One that names nobody is an answer.
    pub(super) async fn ask(
        &self,
        place: &Place,
        known: impl Fn(&str) -> Option<SocketAddr>,
    ) -> Result<Answer, String> {
        let resolver = self.resolver.as_ref().map_err(Clone::clone)?;
        match place {
            Place::Host(name, port) => self.host(resolver, name, *port).await,
            Place::Srv(name) => self.srv(resolver, name, known).await,
            Place::File(_) => Err("is no name".to_owned()),
        }
    }

    async fn host(&self, resolver: &TokioResolver, name: &str, port: u16) -> Result<Answer, String> {
        let (addresses, ttl) = addresses(resolver, &self.permits, name).await?;
        let found = addresses.into_iter().map(|ip| {
            let address = SocketAddr::new(ip, port);
            (address.to_string(), Found { address, weight: None, backup: false })
        });
        Ok(Answer { found: found.collect(), ttl })
    }

    /// The targets of SRV records. One whose address cannot be found keeps the one it had.
    async fn srv(
        &self,
        resolver: &TokioResolver,
        name: &str,
        known: impl Fn(&str) -> Option<SocketAddr>,
    ) -> Result<Answer, String> {
        let records = {
            let _permit = self.permits.acquire().await;
            or_nobody(resolver.srv_lookup(name).await.map(|lookup| lookup.answers().to_vec()))?
        };
        let mut ttl = ttl(&records);
        let records: Vec<_> = records
            .into_iter()
            .filter_map(|record| match record.data {
                // A target of "." says that the service is not there (RFC 2782).
                RData::SRV(srv) if !srv.target.is_root() && srv.port != 0 => Some(srv),
                _ => None,
            })
            .take(DISCOVERED_PER_SOURCE_MAX + 1)
            .collect();
        let standings: Vec<_> = records.iter().map(|srv| (srv.priority, srv.weight)).collect();
        let mut looks = JoinSet::new();
        for srv in records {
            let (resolver, permits) = (resolver.clone(), Arc::clone(&self.permits));
            looks.spawn(async move {
                let found = addresses(&resolver, &permits, &srv.target.to_utf8()).await;
                (srv, found)
            });
        }
        let (mut found, mut failure) = (BTreeMap::new(), None);
        while let Some(look) = looks.join_next().await {
            let Ok((srv, addresses)) = look else { continue };
            let target = srv.target.to_utf8().trim_end_matches('.').to_ascii_lowercase();
            let name = format!("{target}:{}", srv.port);
            let address = match addresses {
                Ok((ips, its_ttl)) => {
                    ttl = ttl.min(its_ttl);
                    ips.into_iter().min().map(|ip| SocketAddr::new(ip, srv.port))
                }
                Err(cause) => {
                    failure = Some(format!("{target}: {cause}"));
                    None
                }
            };
            let Some(address) = address.or_else(|| known(&name)) else { continue };
            let (weight, backup) =
                srv_standing((srv.priority, srv.weight), &standings, *bounds::WEIGHT.end());
            found.insert(name, Found { address, weight, backup });
        }
        match failure.filter(|_| found.is_empty()) {
            Some(cause) => Err(cause),
            None => Ok(Answer { found, ttl }),
        }
    }
}

/// The addresses of a name: IPv4, or IPv6 where there are none. Empty: it has none.
async fn addresses(resolver: &TokioResolver, permits: &Semaphore, name: &str) -> Result<Address, String> {
    // Never closed.
    let _permit = permits.acquire().await;
    let records =
        or_nobody(resolver.lookup_ip(name).await.map(|found| found.as_lookup().answers().to_vec()))?;
    // Nobody listens at the others, and 0.0.0.0 would be this machine.
    let is_host = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast();
    let address = |record: &Record| record.data.ip_addr().filter(is_host);
    Ok((records.iter().filter_map(address).collect(), ttl(&records)))
}

/// No records where the answer is that there are none.
fn or_nobody(answer: Result<Vec<Record>, NetError>) -> Result<Vec<Record>, String> {
    match answer {
        Err(error) if error.is_no_records_found() => Ok(Vec::new()),
        answer => answer.map_err(|error| error.to_string()),
    }
}

/// How long all records hold.
fn ttl(records: &[Record]) -> Duration {
    Duration::from_secs(records.iter().map(|record| record.ttl).min().unwrap_or(0).into())
}

fn resolver(settings: &config::Discovery) -> Result<TokioResolver, NetError> {
    let mut builder = if settings.resolvers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let server = |address: &SocketAddr| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            server.connections.iter_mut().for_each(|connection| connection.port = address.port());
            server
        };
        let servers = ResolverConfig::from_name_servers(settings.resolvers.iter().map(server).collect());
        TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.timeout = settings.timeout;
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    builder.build()
}
