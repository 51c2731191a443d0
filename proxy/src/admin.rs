//! The admin address: metrics and health, for operators and their monitoring; and the admin socket, which takes
//! orders as well.
//!
//! The address is plain HTTP, and metrics and health have no access control: it belongs on loopback or a management
//! network. It takes the socket's orders only from who has the token of `admin.token_file`, and only in an
//! Authorization field, which no page of another site can make a browser send. The socket speaks HTTP too, and is
//! the process' user's alone.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::constant_time;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::downgrades::Downgrades;
use crate::handover;
use crate::identity::uptime_ms;
use crate::lifecycle::{Lifecycle, Phase};
use crate::metrics::{CONTENT_TYPE, Page};
use crate::orders::{self, Orders};
use crate::served::Served;
use crate::start::StartError;
use crate::status::{self, Status};

const PATHS: &str = "/          status page\n\
                     /overview  what it shows, as JSON; /events: every second\n\
                     /metrics   metrics, Prometheus text format\n\
                     /healthz   200 while the process runs\n\
                     /readyz    200 while it accepts connections, else 503\n\
                     /findings  what hops around the proxy break, and the cure, as JSON\n";

const NO_ORDERS: &str =
    "this address takes no orders: give them over admin.socket, or configure admin.token_file\n";
const NO_TOKEN: &str = "orders need the token of admin.token_file, as `Authorization: Bearer TOKEN`\n";
const BEARER: &[u8] = b"Bearer ";

/// What the admin address shows.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) page: Page,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) served: Arc<Served>,
    pub(crate) downgrades: Arc<Downgrades>,
    pub(crate) status: Arc<Status>,
}

/// Binds the admin address, before any thread starts.
///
/// # Errors
///
/// The address cannot be bound.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| StartError::bind("admin.address", address, &error))
}

/// Binds the admin socket for its owner only, in place of one that a process which is gone has left behind.
///
/// # Errors
///
/// The path cannot be bound, or another process answers there.
pub(crate) fn bind_socket(path: &Path) -> Result<UnixListener, StartError> {
    let refused = |cause: &dyn std::fmt::Display| {
        StartError::new(format!("admin.socket: cannot listen on {}: {cause}", path.display()))
    };
    if UnixStream::connect(path).is_ok() {
        return Err(refused(&"another process answers there"));
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(refused(&"there is a file that is no socket"));
        }
        Ok(_) => fs::remove_file(path).map_err(|error| refused(&error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(refused(&error)),
    }
    UnixListener::bind(path)
        .and_then(|listener| fs::set_permissions(path, Permissions::from_mode(0o600)).map(|()| listener))
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| refused(&error))
}

/// Every order there is.
pub(crate) fn orders(orders: Arc<Orders>, upgrades: handover::Requests) -> Router {
    let upgrade = Router::new().route("/upgrade", post(upgrade)).with_state(upgrades);
    orders::router(orders).merge(upgrade)
}

/// Takes orders until the runtime ends.
///
/// # Errors
///
/// As [`serve`].
pub(crate) async fn serve_socket(listener: UnixListener, view: Arc<View>, orders: Router) -> io::Result<()> {
    axum::serve(tokio::net::UnixListener::from_std(listener)?, orders.merge(router(view))).await
}

async fn upgrade(State(requests): State<handover::Requests>) -> impl IntoResponse {
    match requests.upgrade().await {
        Ok(given) => (StatusCode::OK, format!("{given}\n")),
        Err(cause) => (StatusCode::CONFLICT, format!("not upgraded, the process serves on: {cause}\n")),
    }
}

/// Answers requests until the runtime ends, and takes orders from who may give them.
///
/// # Errors
///
/// The runtime does not take the listener: it has no descriptor left for its own event queue.
pub(crate) async fn serve(listener: TcpListener, view: Arc<View>, orders: Router) -> io::Result<()> {
    let orders = orders.route_layer(middleware::from_fn_with_state(Arc::clone(&view), authorized));
    axum::serve(tokio::net::TcpListener::from_std(listener)?, orders.merge(router(view))).await
}

/// Lets orders pass that carry the token. A reload changes it.
async fn authorized(State(view): State<Arc<View>>, request: Request, next: Next) -> Response {
    let revision = view.served.revision();
    let config = &revision.config;
    let Some(token) = config.order_token.as_ref().filter(|token| token.fits(config.admin)) else {
        return (StatusCode::FORBIDDEN, NO_ORDERS).into_response();
    };
    if !carries(request.headers(), &token.secret.0) {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], NO_TOKEN).into_response();
    }
    next.run(request).await
}

/// Whether a request carries the token (RFC 6750 section 2.1). How long that takes tells nothing but its length.
fn carries(fields: &HeaderMap, token: &[u8]) -> bool {
    let mut fields = fields.get_all(header::AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    let Some((scheme, given)) = field.as_bytes().split_at_checked(BEARER.len()) else { return false };
    scheme.eq_ignore_ascii_case(BEARER)
        && !token.is_empty()
        && constant_time::verify_slices_are_equal(given, token).is_ok()
}

fn router(view: Arc<View>) -> Router {
    let status = status::router(Arc::clone(&view.status));
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/findings", get(findings))
        .fallback(async || (StatusCode::NOT_FOUND, PATHS))
        .method_not_allowed_fallback(async || (StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n"))
        .with_state(view)
        .merge(status)
}

async fn metrics(State(view): State<Arc<View>>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, CONTENT_TYPE)],
        view.page.render(&view.served.standings(uptime_ms(Instant::now()))),
    )
}

async fn findings(State(view): State<Arc<View>>) -> impl IntoResponse {
    Json(view.downgrades.shown(Instant::now()))
}

async fn ready(State(view): State<Arc<View>>) -> impl IntoResponse {
    match view.lifecycle.phase() {
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Ready => (StatusCode::OK, "ready\n"),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;
    use crate::config::{Affinity, Config};
    use crate::metrics::Counters;

    /// The answer to a request, status line to body.
    fn answer(address: SocketAddr, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn health_and_metrics_are_served() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let lifecycle = Arc::new(Lifecycle::default());
        let backends = ["127.0.0.1:1".parse().unwrap()];
        let config = Config::without_file(&[address], &backends, Affinity::default()).unwrap();
        let page = Page::new(Counters::new(1), 10, Arc::default());
        let served = Arc::new(Served::of(&config));
        let view = Arc::new(View {
            page,
            lifecycle: Arc::clone(&lifecycle),
            served,
            downgrades: Arc::new(Downgrades::new()),
            status: Arc::new(Status::new()),
        });
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
            runtime.unwrap().block_on(async {
                let orders = Router::new().route("/order", post(async || ()));
                tokio::select! {
                    served = serve(listener, view, orders) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        let starts = |path, status| {
            let answer = answer(address, "GET", path);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
            answer
        };
        starts("/readyz", 503);
        starts("/healthz", 200);
        lifecycle.enter(Phase::Ready);
        assert!(starts("/readyz", 200).ends_with("\r\n\r\nready\n"));
        lifecycle.enter(Phase::Draining);
        assert!(starts("/readyz", 503).ends_with("\r\n\r\ndraining\n"));
        starts("/healthz", 200);
        let metrics = starts("/metrics", 200);
        assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
        let backend = r#"upstream="default",backend="127.0.0.1:1""#;
        for line in [
            "ringbolt_connections_accepted_total 0",
            &format!(r#"ringbolt_backend_state{{{backend},state="up"}} 1"#),
            &format!(r#"ringbolt_backend_state{{{backend},state="down"}} 0"#),
            &format!("ringbolt_backend_load{{{backend}}} 0"),
        ] {
            assert!(metrics.contains(&format!("\n{line}\n")), "{line} in {metrics}");
        }
        starts("/order", 403);
        assert!(starts("/other", 404).contains("/readyz"));
        let refused = answer(address, "POST", "/metrics");
        assert!(refused.starts_with("HTTP/1.1 405") && refused.contains("allow: GET,HEAD"), "{refused}");
        drop(stop);
        server.join().unwrap();
    }

    #[test]
    fn a_token_is_carried_once_and_whole() {
        let carries = |values: &[&str], token: &str| {
            let fields = values.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap()));
            let mut headers = HeaderMap::new();
            fields.for_each(|(name, value)| _ = headers.append(name, value));
            carries(&headers, token.as_bytes())
        };
        assert!(carries(&["Bearer secret"], "secret") && carries(&["bearer secret"], "secret"));
        for values in [
            &[][..],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &["Bearer secre"],
            &["Bearer secret2"],
            &["Bearer  secret"],
            &["Basic secret"],
            &["secret"],
            &["Bearer secret", "Bearer secret"],
        ] {
            assert!(!carries(values, "secret"), "{values:?}");
        }
        assert!(!carries(&["Bearer "], ""), "a token that was not read is nobody's");
    }

    #[test]
    fn a_taken_address_is_a_start_error() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = bind(holder.local_addr().unwrap()).expect_err("is taken").to_string();
        assert!(error.starts_with("admin.address: cannot listen on 127.0.0.1:"), "{error}");
    }
}
