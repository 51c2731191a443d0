//! Lines of HAProxy that have no counterpart, and why each needs none or has none.

const NOT_NEEDED: &[(&[&str], &str)] = &[
    (
        &[
            "daemon",
            "user",
            "group",
            "uid",
            "gid",
            "chroot",
            "pidfile",
            "nbproc",
            "master-worker",
            "ulimit-n",
            "cpu-map",
            "set-dumpable",
            "no strict-limits",
        ],
        "the service manager runs it, and it gives up its privileges by itself",
    ),
    (&["stats"], "metrics are on `admin.address`, orders go to `admin.socket`"),
    (&["option forwardfor", "option originalto"], "backends always learn the client's address"),
    (
        &[
            "option http-server-close",
            "option httpclose",
            "option forceclose",
            "option http-keep-alive",
            "option http-pretend-keepalive",
            "option http-tunnel",
            "option http-no-delay",
            "option prefer-last-server",
            "http-reuse",
        ],
        "connections of clients and backends are kept and reused where that is safe",
    ),
    (
        &["option redispatch", "retries", "retry-on"],
        "requests that no backend has seen are tried at the next one",
    ),
    (
        &[
            "option dontlognull",
            "option tcp-smart-accept",
            "option tcp-smart-connect",
            "option tcpka",
            "option clitcpka",
            "option srvtcpka",
            "option splice-auto",
            "option splice-request",
            "option splice-response",
            "option contstats",
            "option nolinger",
            "option socket-stats",
            "option abortonclose",
            "option http-use-htx",
            "option allbackups",
            "option persist",
            "option tcp-check",
            "option log-health-checks",
            "option idle-close-on-response",
            "option h1-case-adjust-bogus-client",
            "option h1-case-adjust-bogus-server",
        ],
        "is done where it helps",
    ),
    (
        &[
            "tune.ssl.default-dh-param",
            "tune.bufsize",
            "tune.maxrewrite",
            "ssl-dh-param-file",
            "ssl-default-server-options",
            "ssl-default-server-ciphers",
            "hard-stop-after",
            "spread-checks",
            "maxpipes",
            "maxsslconn",
            "backlog",
            "fullconn",
            "hash-type",
            "max-keep-alive-queue",
            "clitimeout",
            "srvtimeout",
            "contimeout",
        ],
        "has a safe default or no meaning here",
    ),
    (&["stick-table", "stick", "appsession", "persist"], crate::import::SID_BINDS),
    (&["description", "id", "enabled", "monitor", "option checkcache"], "means nothing here"),
    (
        &["tcp-request inspect-delay", "tcp-request content"],
        "what a connection speaks is seen from its first bytes; `timeouts.detect` bounds the wait",
    ),
    (&["unique-id-header", "unique-id-format"], "`request_id` of a listener"),
];

const NOT_TRANSLATED: &[(&[&str], &str)] = &[
    (
        &[
            "log",
            "log-format",
            "log-tag",
            "log-send-hostname",
            "option httplog",
            "option tcplog",
            "option dontlog-normal",
            "option log-separate-errors",
            "capture",
            "http-request capture",
        ],
        "logging is set up in `[log]`",
    ),
    (
        &["errorfile", "errorfiles", "errorloc", "errorloc302", "errorloc303", "http-error"],
        "answers of its own are fixed; a Flash policy is served by `[flash_policy]`",
    ),
    (
        &["ssl-default-bind-ciphers", "ssl-default-bind-ciphersuites"],
        "OpenSSL's names mean nothing here; the defaults are safe, `ciphers` of `[listener.tls]` changes them",
    ),
    (
        &["ssl-default-bind-options"],
        "see `min_version` of `[listener.tls]`; TLS 1.2 is the oldest in any case",
    ),
    (&["compression", "filter"], "responses go on as the backend made them"),
    (
        &["http-request", "http-response", "reqadd", "reqirep", "reqrep", "rspadd", "reqidel", "rspidel"],
        "only the forms in docs/migration/haproxy.md are understood",
    ),
    (
        &["tcp-request", "tcp-response", "tcp-check"],
        "see the bounds per client in `[limits]`, and `health` of an upstream",
    ),
    (&["lua-load", "lua-load-per-thread"], "there are no modules"),
    (
        &["dispatch", "usesrc", "source", "option transparent"],
        "backends are connected to from the machine's own address",
    ),
    (&["monitor-uri"], "`/healthz` and `/readyz` are on `admin.address`; or a route with `respond`"),
    (&["rate-limit", "max-session-srv-conns"], "see the bounds in `[limits]`"),
];

/// Whether the line is needed, and why it is or is not; `None` for one that nobody has looked at.
pub(super) fn known(name: &str, second: &str) -> Option<(bool, &'static str)> {
    let both = format!("{name} {second}");
    let find = |wanted: &str, table: &[(&[&str], &'static str)]| {
        table.iter().find(|(names, _)| names.contains(&wanted)).map(|(_, why)| *why)
    };
    // What is said of two words comes before what is said of the first.
    [both.as_str(), name].iter().find_map(|wanted| {
        let idle = find(wanted, NOT_NEEDED).map(|why| (false, why));
        idle.or_else(|| find(wanted, NOT_TRANSLATED).map(|why| (true, why)))
    })
}
