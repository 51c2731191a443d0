//! Redis or Valkey, one server or a cluster, in plain text or over TLS: what the `redis` crate makes of our settings.

// tidy: allow cluster, what Redis calls servers that share the keys among them

use std::fmt;
use std::fs;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo as _, RedisResult,
    TlsCertificates,
};

use crate::config;
use crate::limits::DIRECTORY_CONNECT_TIMEOUT;

/// How the directory is connected to.
#[derive(Clone)]
pub(crate) enum Client {
    Server(Box<redis::Client>),
    Cluster(Box<ClusterClient>),
}

/// A connection, which carries any number of commands at once.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Server(_) => "Server",
            Self::Cluster(_) => "Cluster",
        })
    }
}

impl Client {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// The CA file cannot be read or used.
    pub(crate) fn new(settings: &config::Directory) -> Result<Self, String> {
        let problem = |error: redis::RedisError| format!("directory: {error}");
        let mut servers = Vec::new();
        for url in &settings.servers.urls {
            let url = String::from_utf8_lossy(&url.0);
            servers.push(logged_in(url.as_ref().into_connection_info().map_err(problem)?, settings));
        }
        let issuers = settings.ca.as_deref().map(|file| {
            let pem = fs::read(file).map_err(|error| format!("{}: {error}", file.display()));
            pem.map(|pem| TlsCertificates { client_tls: None, root_cert: Some(pem) })
        });
        let issuers = issuers.transpose().map_err(|problem| format!("directory.ca: {problem}"))?;
        if settings.servers.is_cluster {
            // Whoever waits has no time for a second attempt; the cluster's own redirections are followed.
            let mut builder = ClusterClientBuilder::new(servers)
                .retries(1)
                .connection_timeout(DIRECTORY_CONNECT_TIMEOUT)
                .response_timeout(settings.timeout.max(DIRECTORY_CONNECT_TIMEOUT));
            if let Some(issuers) = issuers {
                builder = builder.certs(issuers);
            }
            return builder.build().map(|client| Self::Cluster(Box::new(client))).map_err(problem);
        }
        let server = servers.pop().ok_or("directory.url names no server")?;
        let client = match issuers {
            Some(issuers) => redis::Client::build_with_tls(server, issuers),
            None => redis::Client::open(server),
        };
        client.map(|client| Self::Server(Box::new(client))).map_err(problem)
    }

    /// Connects and logs in.
    ///
    /// # Errors
    /// Nobody is there, or refuses us.
    pub(super) async fn connect(&self) -> RedisResult<Connection> {
        match self {
            Self::Server(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(DIRECTORY_CONNECT_TIMEOUT))
                    // Whoever asks bounds that.
                    .set_response_timeout(None);
                let connecting = client.get_multiplexed_async_connection_with_config(&config);
                connecting.await.map(Connection::Server)
            }
            Self::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
        }
    }
}

/// With the name and password that stand beside the URL.
fn logged_in(server: ConnectionInfo, settings: &config::Directory) -> ConnectionInfo {
    let mut login = server.redis_settings().clone().set_skip_set_lib_name();
    if let Some(username) = &settings.username {
        login = login.set_username(username);
    }
    if let Some(password) = &settings.password {
        login = login.set_password(String::from_utf8_lossy(&password.content.0));
    }
    server.set_redis_settings(login)
}

impl Connection {
    /// Whether somebody is there who serves us.
    pub(super) async fn ping(&mut self) -> RedisResult<()> {
        self.run(&redis::cmd("PING")).await
    }

    pub(super) async fn get(&mut self, key: &str) -> RedisResult<Option<Vec<u8>>> {
        self.run(redis::cmd("GET").arg(key)).await
    }

    pub(super) async fn set(&mut self, key: &str, value: &str, lifetime: Duration) -> RedisResult<()> {
        let millis = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        self.run(redis::cmd("SET").arg(key).arg(value).arg("PX").arg(millis)).await
    }

    pub(super) async fn remove(&mut self, key: &str) -> RedisResult<()> {
        self.run(redis::cmd("DEL").arg(key)).await
    }

    async fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::Server(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}
