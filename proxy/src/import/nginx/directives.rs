//! Directives of nginx that have no counterpart, and why each needs none or has none.
//!
//! tidy: allow sticky, the name of an nginx directive

/// Ringbolt does it by itself, or there is nothing to do.
const NOT_NEEDED: &[(&[&str], &str)] = &[
    (
        &["worker_connections", "worker_rlimit_nofile"],
        "every connection that the descriptor limit allows is taken, up to `limits.connections`",
    ),
    (
        &["multi_accept", "use", "accept_mutex", "worker_cpu_affinity"],
        "workers share nothing and have a core each",
    ),
    (
        &["pid", "daemon", "master_process", "worker_shutdown_timeout", "user"],
        "the service manager runs it; as root without one, see `[process]` and `timeouts.drain`",
    ),
    (&["proxy_http_version"], "backends are always spoken to in HTTP/1.1, and upgrades work"),
    (
        &[
            "proxy_buffering",
            "proxy_request_buffering",
            "proxy_buffer_size",
            "proxy_buffers",
            "proxy_busy_buffers_size",
        ],
        "nothing is buffered: bytes go on as they come",
    ),
    (
        &["proxy_max_temp_file_size", "client_body_buffer_size", "client_body_temp_path", "proxy_temp_path"],
        "nothing is buffered",
    ),
    (&["proxy_cache_bypass", "proxy_no_cache"], "nothing is cached"),
    (&["proxy_redirect"], "Location fields of backends go on as they are"),
    (
        &["proxy_next_upstream", "proxy_next_upstream_tries", "proxy_next_upstream_timeout"],
        "requests that no backend has seen are tried at the next one",
    ),
    (&["proxy_send_timeout", "send_timeout"], "`timeouts.response` bounds this too"),
    (&["proxy_ignore_client_abort"], "`abort_on_close` of an upstream decides this"),
    (&["tcp_nodelay", "tcp_nopush", "sendfile", "sendfile_max_chunk", "aio"], "is done where it helps"),
    (
        &["keepalive", "keepalive_requests", "keepalive_time", "zone", "state"],
        "connections to backends are pooled, and their state is shared by all workers",
    ),
    (&["proxy_socket_keepalive", "so_keepalive"], "keepalive is set on each socket"),
    (&["server_tokens"], "Ringbolt names no version"),
    (
        &[
            "types_hash_max_size",
            "types_hash_bucket_size",
            "server_names_hash_bucket_size",
            "server_names_hash_max_size",
            "map_hash_bucket_size",
            "variables_hash_max_size",
            "default_type",
            "types",
        ],
        "serves no files",
    ),
    (
        &["ssl_prefer_server_ciphers", "ssl_ecdh_curve", "ssl_dhparam", "ssl_buffer_size"],
        "TLS has its safe defaults; `ciphers` of `[listener.tls]` changes them",
    ),
    (
        &["ssl_session_cache", "ssl_session_timeout", "ssl_session_tickets"],
        "sessions are resumed by tickets; `ticket_keys` shares them between machines",
    ),
    (&["ssl_verify_depth"], "chains of any length are verified"),
    (&["real_ip_recursive"], "the client is always the right-most address that is not trusted"),
    (
        &["resolver", "resolver_timeout"],
        "names are looked up while it serves, by the servers of `[discovery]`",
    ),
    (
        &["ignore_invalid_headers", "underscores_in_headers", "merge_slashes"],
        "docs/http-rules.md says what is let through",
    ),
    (
        &["chunked_transfer_encoding", "postpone_output", "reset_timedout_connection", "lingering_close"],
        "is done where the protocol wants it",
    ),
];

/// What Ringbolt does not do.
const NOT_TRANSLATED: &[(&[&str], &str)] = &[
    (
        &["root", "index", "try_files", "alias", "autoindex", "expires", "error_page"],
        "serves no files: let a backend do it",
    ),
    (
        &[
            "gzip",
            "gzip_types",
            "gzip_proxied",
            "gzip_vary",
            "gzip_comp_level",
            "gzip_min_length",
            "gzip_disable",
            "gzip_http_version",
            "gzip_buffers",
            "brotli",
        ],
        "responses go on as the backend compressed them",
    ),
    (
        &["proxy_cache", "proxy_cache_path", "proxy_cache_valid", "proxy_cache_key", "proxy_cache_use_stale"],
        "there is no cache",
    ),
    (&["access_log", "log_format", "error_log"], "logging is set up in `[log]`"),
    (
        &["limit_req", "limit_req_zone", "limit_conn", "limit_conn_zone", "limit_rate"],
        "see `request_rate` of a route and the bounds per client in `[limits]`",
    ),
    (
        &["ssl_ciphers"],
        "OpenSSL's names mean nothing here; the defaults are safe, `ciphers` of `[listener.tls]` changes them",
    ),
    (
        &["ssl_stapling", "ssl_stapling_verify", "ssl_stapling_file", "ssl_trusted_certificate"],
        "an OCSP response is stapled from a file: `ocsp` of a certificate",
    ),
    (&["fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass", "memcached_pass"], "backends speak HTTP"),
    (
        &[
            "rewrite",
            "set",
            "if",
            "break",
            "internal",
            "sub_filter",
            "proxy_cookie_path",
            "proxy_cookie_domain",
        ],
        "only the forms in docs/migration/nginx.md are understood",
    ),
    (&["slow_start"], "`slow_start` of an upstream counts sessions, not seconds"),
    (&["include"], "is not read: `nginx -T` prints every file, import what serves"),
    (&["http2", "http3", "quic_retry"], "clients are spoken to in HTTP/1.1"),
    (&["queue", "ntlm"], "has no counterpart"),
    (&["load_module", "lua_package_path", "js_import"], "there are no modules"),
];

/// Whether the directive is needed, and why it is or is not; `None` for one that nobody has looked at.
pub(super) fn known(name: &str) -> Option<(bool, &'static str)> {
    let find = |table: &[(&[&str], &'static str)]| {
        table.iter().find(|(names, _)| names.contains(&name)).map(|(_, why)| *why)
    };
    find(NOT_NEEDED).map(|why| (false, why)).or_else(|| find(NOT_TRANSLATED).map(|why| (true, why)))
}
