//! The status page and its data over HTTP. Nothing here changes anything: orders go to the API, with its token.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;

use super::Status;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");

/// Only what this process serves itself; nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const TOO_MANY: &str = "too many pages watch already\n";

pub(crate) fn router(status: Arc<Status>) -> Router {
    Router::new()
        .route("/", get(async || asset("text/html; charset=utf-8", PAGE)))
        .route("/status.css", get(async || asset("text/css; charset=utf-8", STYLE)))
        .route("/status.js", get(async || asset("text/javascript; charset=utf-8", SCRIPT)))
        .route("/overview", get(overview))
        .route("/events", get(events))
        .with_state(status)
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let fields: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Another version of the program has another page.
        (header::CACHE_CONTROL, "no-store"),
    ];
    (fields, text)
}

async fn overview(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let latest = status.latest().await;
    let fields = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (fields, latest.text().to_owned())
}

/// Every overview from now on, as server-sent events. Who is slow misses some.
async fn events(State(status): State<Arc<Status>>) -> Response {
    let Ok(permit) = Arc::clone(&status.watchers).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "10")], TOO_MANY).into_response();
    };
    let mut latest = status.latest.subscribe();
    if latest.borrow().is_some() {
        latest.mark_changed();
    }
    // The process keeps the sender as long as it serves.
    let next = async |(mut latest, permit): (tokio::sync::watch::Receiver<Option<Arc<super::Latest>>>, _)| {
        latest.changed().await.ok()?;
        let event = Event::default().data(latest.borrow_and_update().as_ref()?.text());
        Some((Ok::<_, Infallible>(event), (latest, permit)))
    };
    Sse::new(stream::unfold((latest, permit), next)).into_response()
}
