//! Every label of every metric, with all its values.
//!
//! A label has few values, known when the program is built: never a sid, a path or an address.

use super::cell::{Counter, Label};

/// Defines labels: their name, their values and the index of each.
macro_rules! labels {
    ($(
        $(#[$doc:meta])*
        $label:ident $key:literal { $( $(#[$value_doc:meta])* $variant:ident = $value:literal, )+ }
    )+) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $label { $( $(#[$value_doc])* $variant, )+ }

        impl Label for $label {
            type Counters = [Counter; Self::VALUES.len()];
            const KEY: &'static str = $key;
            const VALUES: &'static [&'static str] = &[$($value),+];

            fn index(self) -> usize {
                self as usize
            }
        }
    )+ };
}

labels! {
    /// How a request was made, as far as it matters to a proxy.
    Method "method" {
        Get = "get",
        Head = "head",
        Post = "post",
        /// CORS preflights, mostly.
        Options = "options",
        Other = "other",
    }

    /// First digit of a response's status, whoever gave it.
    StatusClass "status" {
        Informational = "1xx",
        Success = "2xx",
        Redirection = "3xx",
        ClientError = "4xx",
        ServerError = "5xx",
    }

    /// Status of an answer that the proxy gave itself.
    AnswerStatus "status" {
        BadRequest = "400",
        NotFound = "404",
        MethodNotAllowed = "405",
        RequestTimeout = "408",
        ContentTooLarge = "413",
        UriTooLong = "414",
        ExpectationFailed = "417",
        UpgradeRequired = "426",
        TooManyRequests = "429",
        HeadTooLarge = "431",
        NotImplemented = "501",
        BadGateway = "502",
        ServiceUnavailable = "503",
        GatewayTimeout = "504",
        VersionNotSupported = "505",
        Other = "other",
    }

    /// Why a connection was closed before it was served.
    RefusedConnection "reason" {
        /// `limits.connections` or another bound on connections was reached.
        Limit = "limit",
        /// The process had no descriptor left.
        Descriptors = "descriptors",
        /// It came to a listener with `proxy_protocol` from an address that is not trusted.
        ProxyUntrusted = "proxy_untrusted",
        /// No PROXY header began it, or none in time.
        ProxyHeader = "proxy_header",
        /// It spoke TLS where that is not served; told by an alert.
        Tls = "tls",
        /// It spoke HTTP where that is not served; answered 400.
        Http = "http",
        /// It spoke TLS, and its ClientHello was malformed or not there in time; told by an alert.
        ClientHello = "client_hello",
        /// It spoke TLS to a server name that nobody serves, or to none; told by an alert.
        ServerName = "server_name",
        /// It asked for a Flash policy where there is none.
        FlashPolicy = "flash_policy",
        /// It spoke nothing that is served, or not enough to tell in time.
        Unknown = "unknown_protocol",
        /// No backend took it, in TCP mode; reset.
        NoBackend = "no_backend",
    }

    /// What a connection speaks.
    Detected "protocol" {
        Http = "http",
        Tls = "tls",
        FlashPolicy = "flash_policy",
        /// Anything else, or nothing for as long as `timeouts.detect`.
        Tcp = "tcp",
    }

    /// A bound per listener, client address or route, or that on memory.
    Limit "limit" {
        /// `connections` of a listener.
        ListenerConnections = "listener_connections",
        /// `limits.connections_per_client`.
        ClientConnections = "client_connections",
        /// `limits.connection_rate_per_client`.
        ClientConnectionRate = "client_connection_rate",
        /// `limits.session_rate_per_client`.
        ClientSessionRate = "client_session_rate",
        /// `limits.session_rate`.
        SessionRate = "session_rate",
        /// `limits.session_rate_per_backend`.
        BackendSessionRate = "backend_session_rate",
        /// `request_rate` of a route.
        RouteRequestRate = "route_request_rate",
        /// `limits.memory`.
        Memory = "memory",
    }

    /// Which way the bytes of a tunnel went.
    Direction "direction" {
        ClientToUpstream = "client_to_upstream",
        UpstreamToClient = "upstream_to_client",
    }

    /// Why a tunnel ended.
    TunnelEnd "reason" {
        /// Both ends closed in order, the client first.
        ClientClosed = "client_closed",
        /// Both ends closed in order, the upstream first.
        UpstreamClosed = "upstream_closed",
        /// The client's connection was reset or timed out.
        ClientReset = "client_reset",
        /// The upstream's connection was reset or timed out.
        UpstreamReset = "upstream_reset",
        /// One end had closed, and the other neither followed nor sent anything in time.
        HalfClosedTimeout = "half_closed_timeout",
        /// Silent for longer than `timeouts.tunnel_idle`.
        IdleTimeout = "idle_timeout",
        /// It was open for as long as any may be (`timeouts.tunnel_max_age`).
        MaxAge = "max_age",
        /// A drain ended it.
        Drained = "drained",
        /// It goes on in the process that was upgraded to.
        HandedOver = "handed_over",
        /// Its TLS key had protected all it may, and the kernel that has it cannot change keys.
        KeyUsedUp = "key_used_up",
    }

    /// How an Engine.IO session moves its packets.
    Transport "transport" {
        /// It began with polling.
        Polling = "polling",
        /// It began with WebSocket.
        WebSocket = "websocket",
        /// It began with polling and has changed to WebSocket.
        Upgraded = "upgraded",
    }

    /// Why an Engine.IO session polls no more.
    SessionEnd "reason" {
        /// Its client sent a close packet.
        ClientClosed = "client_closed",
        /// Its backend sent one.
        ServerClosed = "server_closed",
        /// Its client broke a request off, and sent no other in the session's time.
        ClientLeft = "client_left",
        /// Its backend could not be reached or broke an answer off, and no other request came.
        BackendLost = "backend_lost",
        /// Its backend refused its last request: mostly because it knows the sid no more.
        BackendRefused = "backend_refused",
        /// Its client fell silent.
        Expired = "expired",
        /// A drain closed it, or the process ended.
        Drained = "drained",
        /// It goes on as a tunnel.
        Upgraded = "upgraded",
    }

    /// What became of a line of the access log.
    AccessLine "result" {
        /// Given to the writer.
        Queued = "queued",
        /// Dropped, because the writer was too far behind.
        Dropped = "dropped",
    }

    /// What became of a span.
    TraceSpan "result" {
        /// Given to the exporter.
        Queued = "queued",
        /// Dropped, because the collector was too slow.
        Dropped = "dropped",
    }

    /// What the client of a tunnel was told that a drain has ended.
    DrainedBy "by" {
        /// To connect again, in a WebSocket close frame.
        CloseFrame = "close_frame",
        /// Nothing: no frame could be put in.
        Fin = "fin",
    }

    /// What the client of a polling session was told that a drain has ended.
    SessionDrainedBy "by" {
        /// That the session is closed, in an Engine.IO close packet.
        ClosePacket = "close_packet",
        /// That the session is unknown: after a close packet it might not come back.
        UnknownSid = "unknown_sid",
    }

    /// What a tunnel carries.
    TunnelKind "kind" {
        /// WebSocket, begun by a request.
        WebSocket = "websocket",
        /// Whatever a client in TCP mode speaks.
        Tcp = "tcp",
        /// TLS that is passed through unopened, by its server name.
        TlsPassthrough = "tls_passthrough",
    }

    /// What became of a request to upgrade.
    Upgrade "result" {
        /// The backend answered 101.
        Accepted = "accepted",
        /// The backend answered something else, which was forwarded.
        Declined = "declined",
        /// Something before the proxy had made HTTP/1.0 of it; answered with the cause.
        Downgraded = "downgraded",
        /// To another protocol than WebSocket, or incomplete: forwarded as an ordinary request.
        Ignored = "ignored",
    }

    /// What a hop broke; in the order and by the names of `ringbolt_core::downgrade`.
    Downgraded "reason" {
        Http10 = "http_1_0",
        ConnectionMissing = "connection_missing",
        UpgradeMissing = "upgrade_missing",
        FieldsMissing = "websocket_fields_missing",
        NeverUpgraded = "never_upgraded",
        PollsCut = "polls_cut",
        OtherProxy = "other_proxy",
        Answered200 = "answered_200",
        Answered400 = "answered_400",
        Answered426 = "answered_426",
    }

    /// Protocol revision of an Engine.IO session.
    EngineIo "protocol" {
        /// `EIO=3`: Socket.IO 1.x and 2.x.
        V3 = "3",
        /// `EIO=4`: Socket.IO 3.x and 4.x.
        V4 = "4",
    }

    /// What a request's backend was chosen by.
    Evidence "evidence" {
        /// Its sid stood in the sid table.
        /// The sid's tag named it.
        Tag = "tag",
        Table = "table",
        /// The shared directory has it.
        Directory = "directory",
        /// A backend said, when it was asked, that it has the session.
        Ask = "ask",
        Cookie = "cookie",
        Header = "header",
        ClientIp = "client_ip",
        /// Its sid was unknown: the first backend in the client address' rendezvous order.
        Rendezvous = "rendezvous",
        /// A new session: weighted rendezvous with bounded load.
        Placement = "placement",
        /// Nothing bound it: the backend with the least load.
        Least = "least",
    }

    /// What the tag of a sid was worth, or that a sid was tagged.
    SidTag "result" {
        /// A new session's sid was tagged.
        Issued = "issued",
        Valid = "valid",
        /// It is older than `max_age`.
        Expired = "expired",
        /// Its key is not in the file.
        Foreign = "foreign",
        /// It was not made by the key it names.
        Forged = "forged",
        /// There was none, or a part of one.
        None = "none",
    }

    /// What came of asking backends for a session.
    Lookup "result" {
        /// One of them has it.
        Found = "found",
        /// None of them has it: the client was answered 400.
        Nobody = "nobody",
        /// Some did not say: the likeliest of them got the request.
        Unclear = "unclear",
        /// Another request of the session was asking already, and told.
        Joined = "joined",
        /// Nobody was known to have it from a moment ago.
        Cached = "cached",
        /// `ask_rate` was used up, or too many were asking: the client was answered 503.
        Busy = "busy",
    }

    /// What came of looking a session up in the shared directory.
    Listing "result" {
        Found = "found",
        Missing = "missing",
        /// Its backend is not configured here.
        Stranger = "stranger",
        /// The entry is none of ours.
        Foreign = "foreign",
        /// Another request of the session looked already, and told.
        Joined = "joined",
        Cached = "cached",
        /// `directory.rate` was used up, or too many were looking.
        Limited = "limited",
        /// No answer, or none in time.
        Failed = "failed",
        /// It was left aside, because it had not answered before.
        Away = "away",
    }

    /// What became of an entry that was to be written to the shared directory, renewed or removed.
    Written "result" {
        Sent = "sent",
        /// Too many were waiting.
        Dropped = "dropped",
        Away = "away",
    }

    /// What went wrong with the shared directory.
    DirectoryFailure "reason" {
        /// It has not answered in time.
        Timeout = "timeout",
        /// It cannot be connected to, or the connection broke.
        Connection = "connection",
        /// It answered with an error.
        Refused = "refused",
    }

    /// What a backend said when it was asked for a session.
    Question "answer" {
        Known = "known",
        Unknown = "unknown",
        /// Neither, or nothing in time.
        Unclear = "unclear",
    }

    /// What a health check showed.
    Check "result" {
        Passed = "passed",
        /// The backend refused, or answered something else than was wanted.
        Failed = "failed",
        /// It did not answer in time.
        Timeout = "timeout",
    }

    /// What a look for backends came to.
    Look "result" {
        Found = "found",
        /// The answer names nobody.
        Empty = "empty",
        /// There is no answer, or a wrong one.
        Failed = "failed",
    }

    /// What is known of a sid that the sid table does not hold.
    UnknownSid "reason" {
        /// Nothing: it has expired, or another proxy or an earlier process has seen its session begin.
        NotFound = "not_found",
        /// Its tag names its backend (`sid_tags`), so nothing is lost.
        Tagged = "tagged",
        /// It is longer than any that the table stores.
        TooLong = "too_long",
    }

    /// What memory is for.
    MemoryKind "kind" {
        /// Slots of tunnels.
        Tunnels = "tunnels",
        /// The sid table.
        Sids = "sids",
        /// Tables of watched descriptors, timers and tasks.
        EventLoop = "event_loop",
        /// Through which bytes pass, and spare ones for what is sent.
        Buffers = "buffers",
        /// Everything else that is allocated: connections with their requests, TLS and pools.
        Connections = "connections",
        /// Mapped for what the kernel receives by itself.
        ReceiveBuffers = "receive_buffers",
        /// What pipes may hold, in the kernel's memory.
        Pipes = "pipes",
    }

    /// What became of a request that had to wait for a connection to its backend.
    Queued "result" {
        /// Its turn came.
        Served = "served",
        /// It came too late.
        Timeout = "timeout",
        /// Too many waited already.
        Full = "full",
        /// Its client went away.
        Gone = "gone",
    }

    /// What became of an attempt to connect to a backend.
    Connect "result" {
        Ok = "ok",
        /// Nothing listens there.
        Refused = "refused",
        /// No answer within `timeouts.connect`.
        Timeout = "timeout",
        /// No TLS session came of it.
        Tls = "tls",
        /// Any other error: no route, no descriptor.
        Error = "error",
    }

    /// Version of an established TLS session.
    TlsVersion "version" {
        V1_2 = "1.2",
        V1_3 = "1.3",
    }

    /// Who seals and opens the TLS records of a tunnel's client.
    TlsRecords "records" {
        /// The proxy.
        UserSpace = "user_space",
        /// kTLS.
        Kernel = "kernel",
        /// Nobody: the kernel refused in the middle, and the connection was closed.
        Lost = "lost",
    }

    /// Why a client's TLS handshake failed.
    TlsFailure "reason" {
        /// It took longer than `timeouts.tls_handshake`.
        Timeout = "timeout",
        /// The client closed or reset the connection.
        Closed = "closed",
        /// The client refused: mostly our certificate.
        Alert = "alert",
        /// No common version, cipher or protocol.
        Incompatible = "incompatible",
        /// No certificate for the name the client asked for.
        Name = "name",
        /// The client's certificate is missing or not valid.
        Certificate = "certificate",
        /// A message broke the rules, or was too long.
        Protocol = "protocol",
    }

    /// What became of changed files of TLS.
    TlsReload "result" {
        Taken = "taken",
        /// The old ones stay in use.
        Refused = "refused",
    }

    /// What became of a reload.
    Reload "result" {
        /// The new configuration is served.
        Ok = "ok",
        /// The file is wrong.
        Refused = "refused",
        /// It is valid and could not be put into effect.
        Failed = "failed",
    }

    /// What became of an upgrade of the binary.
    Handover "result" {
        /// This process took over from the one before.
        TakenOver = "taken_over",
        /// The new process failed, and this one serves on.
        Failed = "failed",
    }

    /// What tells a worker that a socket is ready.
    EngineInUse "engine" {
        Uring = "uring",
        Epoll = "epoll",
    }
}

impl TunnelEnd {
    /// The proxy ends both connections, neither has failed.
    pub(crate) fn is_orderly(self) -> bool {
        matches!(self, Self::HalfClosedTimeout | Self::IdleTimeout | Self::Drained | Self::KeyUsedUp)
    }
}
