//! A request's trace goes on through the proxy, and sampled requests and tunnels are spans at the collector.
//!
//! Fails with traces that end at the proxy if ids do not match, with sids at the collector if queries are exported, and with
//! a proxy that waits for its collector.
#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ringbolt_harness::raw::{Backend, Dead, Head, Tunnel, Wire};
use ringbolt_harness::{Options, Ringbolt};
use serde_json::{Value, json};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const TAKEN: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const LIMIT: Duration = Duration::from_secs(60);

fn start(backend: impl ToString, collector: impl ToString, sample: u32) -> Ringbolt {
    let config = format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.a]\nbackends = [{{ name = \"one\", address = \"{}\" }}]\n\
         [traces]\ncollector = \"{}\"\nsample = {sample}\n",
        backend.to_string(),
        collector.to_string()
    );
    Ringbolt::start(&Options {
        workers: 1,
        config: Some(config),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    })
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n")
}

/// What the collector has got, as it must be by OTLP's definition.
fn spans(collector: &Backend) -> Vec<Value> {
    let mut spans = Vec::new();
    for request in collector.requests() {
        assert_eq!(request.head().first_line(), "POST /v1/traces HTTP/1.1");
        assert_eq!(request.head().value("Content-Type"), Some("application/json"));
        let body: Value = serde_json::from_slice(&request.message.body).expect("JSON");
        let resource = &body["resourceSpans"][0];
        let service = json!({ "key": "service.name", "value": { "stringValue": "ringbolt" } });
        assert_eq!(resource["resource"]["attributes"][0], service);
        spans.extend(resource["scopeSpans"][0]["spans"].as_array().expect("spans").iter().cloned());
    }
    spans
}

/// Waits until the collector has so many.
fn wait_for_spans(collector: &Backend, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let spans = spans(collector);
        if spans.len() >= count {
            return spans;
        }
        assert!(Instant::now() < deadline, "{count} spans, so far {spans:?}");
        thread::yield_now();
    }
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().expect("attributes");
    attributes.iter().find(|one| one["key"] == key).map_or(&Value::Null, |one| &one["value"])
}

/// Trace, span and flags of a `traceparent`.
fn traceparent(head: &Head) -> [&str; 3] {
    let field = head.value("traceparent").expect("a traceparent");
    let parts: Vec<&str> = field.split('-').collect();
    assert_eq!((parts.len(), parts[0]), (4, "00"), "{field}");
    [parts[1], parts[2], parts[3]]
}

fn nanoseconds(span: &Value, field: &str) -> u128 {
    span[field].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{field} in {span}"))
}

#[test]
fn a_trace_goes_on_through_the_proxy() {
    let (backend, collector) = (Backend::answering(OK), Backend::answering(TAKEN));
    let ringbolt = start(backend.address(), collector.address(), 1_000_000);
    let mut wire = Wire::connect(ringbolt.address());
    let caller = format!("traceparent: 00-{TRACE}-{CALLER}-01\r\ntracestate: a=b\r\n");
    assert_eq!(wire.exchange(get("/a?sid=secret", &caller)).status(), 200);
    // Neither a trace that nobody records nor a request without one is recorded here.
    let unsampled = format!("traceparent: 00-{TRACE}-{CALLER}-00\r\ntracestate: c=d\r\n");
    assert_eq!(wire.exchange(get("/unsampled", &unsampled)).status(), 200);
    assert_eq!(wire.exchange(get("/alone", "")).status(), 200);
    let spans = wait_for_spans(&collector, 1);
    let span = &spans[0];
    let requests = backend.requests();
    let [trace, parent, flags] = traceparent(requests[0].head());
    assert_eq!((trace, flags, requests[0].head().value("tracestate")), (TRACE, "01", Some("a=b")));
    assert_eq!(requests[0].head().values("traceparent").len(), 1);
    assert_ne!(parent, CALLER, "the backend's span is below the proxy's");
    assert_eq!((&span["traceId"], &span["spanId"]), (&json!(TRACE), &json!(parent)));
    assert_eq!(
        (&span["parentSpanId"], &span["kind"], &span["name"]),
        (&json!(CALLER), &json!(2), &json!("GET"))
    );
    for (key, value) in [("url.path", "/a"), ("server.address", "a.example"), ("ringbolt.backend", "one")] {
        assert_eq!(attribute(span, key)["stringValue"], value, "{span}");
    }
    assert_eq!(attribute(span, "http.response.status_code")["intValue"], "200");
    assert!(!span.to_string().contains("secret"), "{span}");
    let (began, ended) = (nanoseconds(span, "startTimeUnixNano"), nanoseconds(span, "endTimeUnixNano"));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_nanos();
    assert!(began <= ended && ended <= now && now - began < LIMIT.as_nanos(), "{began} {ended} {now}");
    assert_eq!(traceparent(requests[1].head()), [TRACE, CALLER, "00"], "passed on as it is");
    assert_eq!(requests[1].head().value("tracestate"), Some("c=d"));
    assert_eq!(requests[2].head().value("traceparent"), None);
    assert_eq!(spans.len(), 1);
    ringbolt.wait_for_metric("ringbolt_trace_spans_total{result=\"queued\"}", |queued| queued == 1.0);
}

#[test]
fn a_request_without_a_trace_begins_one_if_it_is_drawn() {
    let (backend, collector) = (Backend::answering(OK), Backend::answering(TAKEN));
    let ringbolt = start(backend.address(), collector.address(), 2);
    let mut wire = Wire::connect(ringbolt.address());
    // What is malformed is none, and its state is nobody's.
    let malformed = format!("traceparent: 00-{TRACE}-{CALLER}\r\ntracestate: a=b\r\n");
    for _ in 0..4 {
        assert_eq!(wire.exchange(get("/a", &malformed)).status(), 200);
    }
    let spans = wait_for_spans(&collector, 2);
    let begun: Vec<_> = backend.requests().into_iter().skip(1).step_by(2).collect();
    assert_eq!((spans.len(), begun.len()), (2, 2));
    for (span, request) in spans.iter().zip(&begun) {
        let [trace, parent, flags] = traceparent(request.head());
        assert_eq!((&span["traceId"], &span["spanId"], flags), (&json!(trace), &json!(parent), "01"));
        assert_eq!((&span["parentSpanId"], request.head().value("tracestate")), (&Value::Null, None));
    }
    assert_ne!(spans[0]["traceId"], spans[1]["traceId"]);
}

#[test]
fn a_tunnel_is_a_span_below_its_request() {
    let (backend, collector) = (TcpListener::bind("127.0.0.1:0").expect("a port"), Backend::answering(TAKEN));
    let ringbolt = start(backend.local_addr().expect("an address"), collector.address(), 1);
    let tunnel = Tunnel::open(ringbolt.address(), &backend);
    let request = wait_for_spans(&collector, 1).remove(0);
    assert_eq!(attribute(&request, "http.response.status_code")["intValue"], "101");
    tunnel.check();
    drop((tunnel.client, tunnel.upstream));
    let span = wait_for_spans(&collector, 2).remove(1);
    assert_eq!((&span["name"], &span["kind"]), (&json!("tunnel"), &json!(1)));
    assert_eq!((&span["traceId"], &span["parentSpanId"]), (&request["traceId"], &request["spanId"]));
    assert_eq!(attribute(&span, "ringbolt.tunnel.end")["stringValue"], "client_closed");
    assert_eq!(attribute(&span, "ringbolt.backend")["stringValue"], "one");
}

/// Whoever is asked to end exports what there is.
#[test]
fn the_last_spans_are_exported_before_the_end() {
    let (backend, collector) = (Backend::answering(OK), Backend::answering(TAKEN));
    let mut ringbolt = start(backend.address(), collector.address(), 1);
    assert_eq!(Wire::connect(ringbolt.address()).exchange(get("/last", "")).status(), 200);
    assert!(ringbolt.terminate().success());
    assert_eq!(attribute(&spans(&collector)[0], "url.path")["stringValue"], "/last");
}

#[test]
fn a_collector_that_is_down_costs_spans_and_nothing_else() {
    let (backend, dead) = (Backend::answering(OK), Dead::refusing());
    let ringbolt = start(backend.address(), dead.address(), 1);
    let mut wire = Wire::connect(ringbolt.address());
    assert_eq!(wire.exchange(get("/", "")).status(), 200);
    let words = "the collector of traces does not take spans";
    ringbolt.process().line(words, LIMIT, |line| line.contains(words).then_some(()));
    assert_eq!(ringbolt.metrics()["ringbolt_trace_spans_lost_total"], 1.0);
    assert_eq!(wire.exchange(get("/", "")).status(), 200);
}

/// It accepts and never answers: the queue fills, and what does not fit is dropped.
#[test]
fn a_collector_that_hangs_costs_spans_and_nothing_else() {
    let (backend, collector) = (Backend::answering(OK), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let ringbolt = start(backend.address(), collector.local_addr().expect("an address"), 1);
    let mut wire = Wire::connect(ringbolt.address());
    let request = get(&format!("/{}", "x".repeat(1000)), "");
    let mut asked = 0;
    let dropped = || ringbolt.metrics()["ringbolt_trace_spans_total{result=\"dropped\"}"];
    while asked % 256 != 0 || asked == 0 || dropped() == 0.0 {
        assert_eq!(wire.exchange(&request).status(), 200);
        asked += 1;
        assert!(asked < 50_000, "nothing is dropped");
    }
}
