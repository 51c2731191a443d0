//! One chat backend: an ordinary Socket.IO server that does not know a proxy is in front of it.
//!
//! It needs no cookie, no shared session store and no option for the proxy: that is the point of
//! the demo. It also serves the page, so that every byte the browser loads came through the proxy.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use socketioxide::SocketIo;
use socketioxide::extract::{Data, SocketRef, TryData};
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;

use crate::chat::{Chat, Guest, Welcome};

/// The page and what it loads: path, media type, content.
const PAGE: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("../assets/index.html")),
    ("/chat.css", "text/css; charset=utf-8", include_str!("../assets/chat.css")),
    ("/chat.js", "text/javascript; charset=utf-8", include_str!("../assets/chat.js")),
    // The official client, unmodified; its licence stands beside it.
    ("/socket.io.min.js", "text/javascript; charset=utf-8", include_str!("../assets/socket.io.min.js")),
];

/// Starts a backend on a free loopback port and returns its address. It runs until the process ends.
pub(crate) async fn start(name: &'static str, chat: &Chat) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;

    let (layer, server) = SocketIo::new_layer();
    welcome_guests(name, chat, &server);
    tokio::spawn(relay(chat.clone(), server));

    let router = PAGE.into_iter().fold(Router::new(), |router, (path, media_type, content)| {
        router.route(path, get(async move || page_file(media_type, content)))
    });
    let serving = axum::serve(listener, router.layer(layer));
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            eprintln!("ringbolt-demo: chat backend {name} ended: {error}");
        }
    });
    Ok(address)
}

/// Tells every new session where it landed, and passes on what it says.
fn welcome_guests(name: &'static str, chat: &Chat, server: &SocketIo) {
    let chat = chat.clone();
    server.ns("/", async move |socket: SocketRef, TryData::<Guest>(guest)| {
        let guest = guest.unwrap_or_default();
        // A session that closed meanwhile cannot be welcomed, and nothing else is owed to it.
        let _closed = socket.emit("welcome", &Welcome { backend: name, backends: chat.backends() });
        socket.on("say", async move |Data::<String>(text)| chat.say(name, &guest, &text));
    });
}

/// Sends every line of the chat to the sessions of one server.
async fn relay(chat: Chat, server: SocketIo) {
    let mut lines = chat.listen();
    loop {
        match lines.recv().await {
            // One session that cannot take the line must not stop the others.
            Ok(line) => drop(server.emit("line", &line).await),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn page_file(media_type: &'static str, content: &'static str) -> impl IntoResponse {
    // A rebuilt demo must not show an old page on the same port.
    ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "no-cache")], content)
}
