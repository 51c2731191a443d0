//! A daemon that serves all on one port: TLS of two names, Socket.IO, a web application, TCP and Flash policy.

use std::sync::Arc;

use crate::backends::Backends;
use crate::raw::{Backend, End, TcpBackend, Wire};
use crate::ringbolt::{Options, Ringbolt};
use crate::tls::{Authority, Files, connect};

const POLICY_REQUEST: &[u8] = b"<policy-file-request/>\0";
const POLICY: &[u8] = b"<cross-domain-policy/>\0";
const PAGE: &str = "GET /web/ HTTP/1.1\r\nHost: any.test\r\n\r\n";
const GREETING: &[u8] = b"\0no capital letter";

/// What stands beside Socket.IO, and the issuer of the certificates.
pub(crate) struct OnePort {
    pub(crate) authority: Authority,
    names: [(&'static str, Files); 2],
    web: Backend,
    echo: TcpBackend,
}

impl OnePort {
    pub(crate) fn new(names: [&'static str; 2]) -> Self {
        let (web, echo) = (Backend::named("the page"), TcpBackend::echoing(""));
        let authority = Authority::new();
        let names = names.map(|name| (name, authority.issue(name, &[name])));
        Self { authority, names, web, echo }
    }

    /// A daemon in front of all of it, with these options else.
    pub(crate) fn start(&self, backends: &Backends, options: Options) -> Ringbolt {
        let certificates: Vec<String> = self.names.iter().map(|(_, files)| files.entry()).collect();
        let chat: Vec<String> = backends.addresses().iter().map(|address| format!("\"{address}\"")).collect();
        let policy = self.authority.folder().join("policy.xml");
        std::fs::write(&policy, POLICY.strip_suffix(b"\0").expect("a NUL")).expect("a file");
        let config = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\nupstream = \"chat\"\n\
             detect = [\"tls\", \"http\", \"flash-policy\", \"tcp\"]\ntcp_upstream = \"echo\"\n\
             [listener.tls]\nstrict = true\ncertificates = [{}]\n\
             [[route]]\npath = \"/web/\"\nupstream = \"web\"\n\
             [upstream.chat]\nbackends = [{}]\n\
             [upstream.web]\nbackends = [\"{}\"]\n[upstream.echo]\nbackends = [\"{}\"]\n\
             [flash_policy]\nfile = {policy:?}\n",
            certificates.join(", "),
            chat.join(", "),
            self.web.address(),
            self.echo.address()
        );
        Ringbolt::start(&Options { config: Some(config), ..options })
    }

    /// Asks for everything beside Socket.IO, by either name over TLS and without it.
    pub(crate) fn check(&self, daemon: &Ringbolt) {
        let mut unsaid = Arc::unwrap_or_clone(self.authority.client());
        unsaid.alpn_protocols.clear();
        let unsaid = Arc::new(unsaid);
        for (name, files) in &self.names {
            let (_, agreed) = connect(daemon.address(), name, &unsaid).expect("a session");
            assert_eq!(agreed.certificate, Some(files.der()), "certificate of {name}");
            self.check_by(|| connect(daemon.address(), name, &unsaid).expect("a session").0);
        }
        self.check_by(|| Wire::connect(daemon.address()));
    }

    fn check_by(&self, open: impl Fn() -> Wire) {
        assert_eq!(open().exchange(PAGE).text(), "the page");
        let mut flash = open();
        flash.send(POLICY_REQUEST);
        assert_eq!(flash.read_to_end(), (POLICY.to_vec(), End::Fin));
        let mut tcp = open();
        tcp.send(GREETING);
        assert_eq!(tcp.read_exactly(GREETING.len(), "an echo"), GREETING);
    }
}
