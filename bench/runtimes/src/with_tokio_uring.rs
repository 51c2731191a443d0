//! The relay on tokio-uring: a copy loop in each direction, with buffers that are lent to the kernel and
//! come back with what they were lent for.

use std::io;
use std::net::{Shutdown, SocketAddr};

use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::{TcpListener, TcpStream};

use crate::BUFFER_BYTES;

/// Its default of 256 submissions is flushed when full; a completion queue of twice that overflows with
/// thousands of tunnels.
const ENTRIES: u32 = 4096;

pub(crate) fn run(listen: SocketAddr, origin: SocketAddr) -> io::Result<()> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_coop_taskrun().setup_single_issuer();
    tokio_uring::builder().entries(ENTRIES).uring_builder(&ring).start(async {
        let listener = TcpListener::bind(listen)?;
        loop {
            let (client, _) = listener.accept().await?;
            tokio_uring::spawn(async move {
                // Where the origin refuses, dropping the client's connection says so.
                let _ = relay(&client, origin).await;
            });
        }
    })
}

async fn relay(client: &TcpStream, origin: SocketAddr) -> io::Result<()> {
    let upstream = TcpStream::connect(origin).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    tokio::join!(copy(client, &upstream), copy(&upstream, client));
    Ok(())
}

/// Copies until the source ends or either end fails; both look the same from the other end.
async fn copy(source: &TcpStream, target: &TcpStream) {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let (received, filled) = source.read(buffer).await;
        let Ok(length @ 1..) = received else { break };
        let (sent, slice) = target.write_all(filled.slice(..length)).await;
        if sent.is_err() {
            break;
        }
        buffer = slice.into_inner();
    }
    // Fails only when the connection is gone.
    let _ = target.shutdown(Shutdown::Write);
}
