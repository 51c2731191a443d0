//! The admin address: metrics and health, for operators and their monitoring; and the admin socket, which takes
//! orders as well.
//!
//! The address is plain HTTP without access control: it belongs on loopback or a management network. The socket
//! speaks HTTP too, and is the process' user's alone.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};

use crate::lifecycle::{Lifecycle, Phase};
use crate::metrics::{CONTENT_TYPE, Page};
use crate::reload::{NotReloaded, Requests};
use crate::start::StartError;

const PATHS: &str = "/metrics   metrics, Prometheus text format\n\
                     /healthz   200 while the process runs\n\
                     /readyz    200 while it accepts connections, else 503\n";

/// What the admin address shows.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) page: Page,
    pub(crate) lifecycle: Arc<Lifecycle>,
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
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(refused(&error));
    }
    UnixListener::bind(path)
        .and_then(|listener| fs::set_permissions(path, Permissions::from_mode(0o600)).map(|()| listener))
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| refused(&error))
}

/// Takes orders until the runtime ends.
///
/// # Errors
///
/// As [`serve`].
pub(crate) async fn serve_socket(
    listener: UnixListener,
    view: Arc<View>,
    requests: Requests,
) -> io::Result<()> {
    let orders = Router::new().route("/reload", post(reload)).with_state(requests);
    axum::serve(tokio::net::UnixListener::from_std(listener)?, orders.merge(router(view))).await
}

async fn reload(State(requests): State<Requests>) -> impl IntoResponse {
    match requests.reload().await {
        Ok(reloaded) => (StatusCode::OK, format!("{reloaded}\n")),
        Err(error @ NotReloaded::Refused(_)) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{error}\n")),
        Err(error @ NotReloaded::Failed(_)) => (StatusCode::CONFLICT, format!("{error}\n")),
    }
}

/// Answers requests until the runtime ends.
///
/// # Errors
///
/// The runtime does not take the listener: it has no descriptor left for its own event queue.
pub(crate) async fn serve(listener: TcpListener, view: Arc<View>) -> std::io::Result<()> {
    axum::serve(tokio::net::TcpListener::from_std(listener)?, router(view)).await
}

fn router(view: Arc<View>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .fallback(async || (StatusCode::NOT_FOUND, PATHS))
        .method_not_allowed_fallback(async || (StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n"))
        .with_state(view)
}

async fn metrics(State(view): State<Arc<View>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], view.page.render())
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
        let page = Page::new(Counters::new(1), 10, Arc::default());
        let view = Arc::new(View { page, lifecycle: Arc::clone(&lifecycle) });
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    served = serve(listener, view) => served.unwrap(),
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
        assert!(metrics.contains("\nringbolt_connections_accepted_total 0\n"), "{metrics}");
        assert!(starts("/other", 404).contains("/readyz"));
        let refused = answer(address, "POST", "/metrics");
        assert!(refused.starts_with("HTTP/1.1 405") && refused.contains("allow: GET,HEAD"), "{refused}");
        drop(stop);
        server.join().unwrap();
    }

    #[test]
    fn a_taken_address_is_a_start_error() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = bind(holder.local_addr().unwrap()).expect_err("is taken").to_string();
        assert!(error.starts_with("admin.address: cannot listen on 127.0.0.1:"), "{error}");
    }
}
